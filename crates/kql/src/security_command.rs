//! Management commands about principals and their roles.
//!
//! Made by the parser, run by the service.

use crate::ast::Name;

/// What a role is a role on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SecurityScope {
    /// The whole server.
    Cluster,
    /// A database; no name is the request's.
    Database(Option<Name>),
    /// A table.
    Table(Name),
    /// An external table.
    ExternalTable(Name),
    /// A materialized view.
    MaterializedView(Name),
    /// A stored function.
    Function(Name),
    /// A graph model.
    GraphModel(Name),
}

/// How a command changes who has a role.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RoleChange {
    /// `.add`: these as well.
    Add,
    /// `.drop`: these no more.
    Drop,
    /// `.set`: these and nobody else.
    Set,
}

/// A command about roles.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the syntax line above each variant explains its fields")]
pub enum SecurityCommand {
    /// `.add database D users ('principal', ...) [skip-results] ['notes']` and its kin; `.set ... none` has no principals.
    ChangeRole {
        change: RoleChange,
        scope: SecurityScope,
        role: Name,
        principals: Vec<String>,
        skip_results: bool,
        notes: Option<String>,
    },
    /// `.show database D principals` and its kin.
    ShowPrincipals { scope: SecurityScope },
    /// `.show principal ['p'] roles`, `.show table T principal ['p'] roles` and its kin; no scope is all of them.
    ShowRoles { scope: Option<SecurityScope>, principal: Option<String> },
    /// `.show principal access`.
    ShowAccess,
}

impl SecurityCommand {
    /// Whether the command changes something.
    pub fn is_write(&self) -> bool {
        matches!(self, SecurityCommand::ChangeRole { .. })
    }

    /// The command's name in journals.
    pub fn journal_name(&self) -> &'static str {
        match self {
            SecurityCommand::ChangeRole { change: RoleChange::Add, .. } => "PrincipalsAdd",
            SecurityCommand::ChangeRole { change: RoleChange::Drop, .. } => "PrincipalsDrop",
            SecurityCommand::ChangeRole { change: RoleChange::Set, .. } => "PrincipalsSet",
            SecurityCommand::ShowPrincipals { .. } => "PrincipalsShow",
            SecurityCommand::ShowRoles { .. } => "PrincipalRolesShow",
            SecurityCommand::ShowAccess => "PrincipalAccessShow",
        }
    }
}
