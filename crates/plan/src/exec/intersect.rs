//! `dcount_intersect`: the sizes of intersections of sketches. Arguments: the sketches; columns: one number for each.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Int64Builder};
use arrow::datatypes::Field;
use datafusion::error::Result;
use tidewater_functions::aggregate::hyperloglog::{Sketch, intersections};

use super::algorithm::{Algorithm, Layout};
use super::stage::{Input, Output, Scope, Setting, Stage, StageRun};

/// The operator.
#[derive(Clone, Copy, Debug)]
pub struct Intersect;

impl Algorithm for Intersect {
    fn stage(&self, layout: Layout) -> Result<Arc<dyn Stage>, String> {
        Ok(Arc::new(IntersectStage { layout }))
    }
}

#[derive(Clone, Debug)]
struct IntersectStage {
    layout: Layout,
}

impl Stage for IntersectStage {
    fn name(&self) -> &'static str {
        "DcountIntersect"
    }

    fn settings(&self) -> String {
        format!("{:?}", self.layout.columns)
    }

    fn outputs(&self) -> Vec<Field> {
        self.layout.fields()
    }

    fn scope(&self) -> Scope {
        if self.layout.is_ordered { Scope::Whole } else { Scope::Rows }
    }

    fn keeps_rows(&self) -> bool {
        true
    }

    fn start(&self, _setting: Setting) -> Result<Box<dyn StageRun>> {
        Ok(Box::new(Run { groups: self.layout.groups, ready: None }))
    }
}

struct Run {
    groups: usize,
    ready: Option<Output>,
}

impl StageRun for Run {
    fn push(&mut self, input: Input) -> Result<()> {
        let sketches: Vec<_> = input.args[self.groups..].iter().map(|array| array.as_string_view().clone()).collect();
        let mut builders: Vec<Int64Builder> = sketches.iter().map(|_| Int64Builder::new()).collect();
        for row in 0..input.rows {
            let read = sketches.iter().map(|texts| {
                use arrow::array::Array;
                if texts.is_valid(row) { Sketch::read_json(texts.value(row)) } else { None }
            });
            // What follows something that is no sketch is in no known intersection.
            let read: Vec<Sketch> = read.map_while(|sketch| sketch).collect();
            let sizes = intersections(&read);
            for (place, builder) in builders.iter_mut().enumerate() {
                builder.append_option(sizes.get(place).copied());
            }
        }
        let mut columns = input.kept;
        columns.extend(builders.iter_mut().map(|builder| Arc::new(builder.finish()) as ArrayRef));
        self.ready = Some(Output { columns, rows: input.rows });
        Ok(())
    }

    fn take(&mut self) -> Result<Option<Output>> {
        Ok(self.ready.take())
    }
}
