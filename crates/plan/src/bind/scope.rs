//! Names that statements define: `let`, parameters, `as`, patterns.
//!
//! Frames live in the binder; an `Env` is a frame up to a position, so that a function sees what was
//! defined before it and nothing later (no forward references, no recursion).

use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use tidewater_kql::ast::{Expr, Lambda, PatternDefinition};

use crate::bind::Binder;
use crate::bind::restrict::Restriction;
use crate::bound::{BExpr, Graph, Rel};

/// What a name stands for.
#[derive(Clone)]
pub(crate) enum Binding {
    /// A scalar `let` or parameter: substituted at each use.
    Scalar(Rc<BExpr>),
    /// A tabular `let`, parameter or `as`: used under fresh column ids.
    Table(Arc<Rel>),
    /// A graph: computed once however often it is used.
    Graph(Arc<Graph>),
    /// A function with the names it saw.
    Function(Rc<FunctionDef>),
    /// `declare pattern`.
    Pattern(Rc<PatternDef>),
    /// `entity_group [...]`.
    EntityGroup(Rc<Vec<Expr>>),
    /// What stands for an entity in `macro-expand`: the entity, and where its own names are looked up.
    Entity(Rc<Expr>, Env),
    /// Its definition failed and has been reported.
    Failed,
}

/// A function, from `let` or stored.
pub(crate) struct FunctionDef {
    pub name: String,
    pub lambda: Lambda,
    /// Where its free names are looked up; a stored function looks where it is called.
    pub env: Option<Env>,
    /// The database whose tables its body means.
    pub database: String,
    /// What `restrict access` hid where it was defined; a stored function sees all of its database.
    pub restriction: Option<Rc<Restriction>>,
}

/// A pattern with the names that its bodies see.
pub(crate) struct PatternDef {
    pub name: String,
    pub definition: Option<PatternDefinition>,
    pub env: Env,
    pub database: String,
    pub restriction: Option<Rc<Restriction>>,
}

/// A definition: its frame and its position there.
pub(crate) type Place = (usize, usize);

/// A place among the definitions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Env {
    frame: usize,
    visible: usize,
}

impl Env {
    /// Before the first statement of the query.
    pub const ROOT: Env = Env { frame: 0, visible: 0 };
}

/// The definitions of one block: the query, or one call of a function.
pub(crate) struct Frame {
    parent: Option<Env>,
    names: Vec<(String, Binding)>,
    positions: HashMap<String, Vec<usize>>,
}

impl Frame {
    /// The query's own frame.
    pub fn root() -> Frame {
        Frame { parent: None, names: Vec::new(), positions: HashMap::new() }
    }
}

impl Binder<'_> {
    /// Opens a block below `parent` and looks names up there from now on; gives the place to go back to.
    pub fn enter(&mut self, parent: Env) -> Env {
        self.frames.push(Frame { parent: Some(parent), ..Frame::root() });
        std::mem::replace(&mut self.env, Env { frame: self.frames.len() - 1, visible: 0 })
    }

    /// Defines a name from here on; it hides earlier ones.
    pub fn define(&mut self, name: &str, binding: Binding) {
        // After an inner block the same frame may be longer than what is visible: hidden names stay hidden,
        // because lookups compare positions.
        let frame = &mut self.frames[self.env.frame];
        frame.positions.entry(name.to_string()).or_default().push(frame.names.len());
        frame.names.push((name.to_string(), binding));
        self.env.visible = frame.names.len();
    }

    /// Whether the current block itself defines the name.
    pub fn is_defined_here(&self, name: &str) -> bool {
        self.find_in(self.env, name).is_some()
    }

    /// What a name stands for, from the innermost block outwards.
    pub fn lookup(&self, name: &str) -> Option<Binding> {
        let mut place = Some(self.env);
        while let Some(env) = place {
            if let Some(position) = self.find_in(env, name) {
                return Some(self.frames[env.frame].names[position].1.clone());
            }
            place = self.frames[env.frame].parent;
        }
        None
    }

    fn find_in(&self, env: Env, name: &str) -> Option<usize> {
        let positions = self.frames[env.frame].positions.get(name)?;
        positions.iter().rev().find(|position| **position < env.visible && self.is_visible(env, **position)).copied()
    }

    /// Whether no `restrict access` hides a definition.
    fn is_visible(&self, env: Env, position: usize) -> bool {
        self.view.restriction().is_none_or(|restriction| !restriction.hides((env.frame, position)))
    }

    /// Every visible name, for hints.
    pub fn visible_names(&self) -> Vec<String> {
        let mut names = Vec::new();
        let mut place = Some(self.env);
        while let Some(env) = place {
            let frame = &self.frames[env.frame];
            let visible = (0..env.visible).filter(|position| self.is_visible(env, *position));
            names.extend(visible.map(|position| frame.names[position].0.clone()));
            place = frame.parent;
        }
        names
    }

    /// Visible names with their bindings, outermost first, in the order of definition (union wildcards).
    pub fn visible_bindings(&self) -> Vec<(String, Binding)> {
        self.visible_definitions().into_iter().map(|(_, name, binding)| (name, binding)).collect()
    }

    /// The same with the places of the definitions.
    pub fn visible_definitions(&self) -> Vec<(Place, String, Binding)> {
        let mut blocks = Vec::new();
        let mut place = Some(self.env);
        while let Some(env) = place {
            let frame = &self.frames[env.frame];
            let block: Vec<_> = (0..env.visible)
                .filter(|position| self.is_visible(env, *position))
                .map(|position| {
                    ((env.frame, position), frame.names[position].0.clone(), frame.names[position].1.clone())
                })
                .collect();
            blocks.push(block);
            place = frame.parent;
        }
        blocks.into_iter().rev().flatten().collect()
    }
}
