//! Commands about principals and their roles. Source: the manage-...-security-roles pages; the reference parser for the
//! words of roles and the order of what follows the principals.

use super::{P, Parser};
use crate::ast::Name;
use crate::command::Command;
use crate::lexer::TokenKind;
use crate::security_command::{RoleChange, SecurityCommand, SecurityScope};

/// Words of roles. Which of them a scope has is the service's to say.
const ROLES: [&str; 13] = [
    "admins",
    "users",
    "viewers",
    "unrestrictedviewers",
    "ingestors",
    "monitors",
    "alldatabasesadmins",
    "alldatabasesviewers",
    "alldatabasesmonitors",
    "databasecreators",
    "ops",
    "blockedprincipals",
    "uncachedviewers",
];

fn security(command: SecurityCommand) -> P<Option<Command>> {
    Ok(Some(Command::Security(Box::new(command))))
}

impl Parser<'_> {
    fn at_role(&self) -> bool {
        self.at(TokenKind::Name) && ROLES.iter().any(|role| role.eq_ignore_ascii_case(self.word()))
    }

    /// Behind `.add`, `.drop` or `.set`: a change of a role, or nothing read at all.
    pub(super) fn change_role(&mut self, change: RoleChange) -> P<Option<Command>> {
        let start = self.index;
        // A name that is no name here may be one for another rule.
        let recorded = self.diagnostics.len();
        let scope = match self.security_scope() {
            Ok(Some(scope)) if self.at_role() => scope,
            _ => {
                self.index = start;
                self.diagnostics.truncate(recorded);
                self.stopped = false;
                return Ok(None);
            }
        };
        let role = self.any_name("a role")?;
        let principals = match change == RoleChange::Set && self.eat_word("none") {
            true => Vec::new(),
            false => self.parenthesized(Self::string_token)?,
        };
        let (mut skip_results, mut notes) = (false, None);
        loop {
            if !skip_results && self.eat_dashed("skip", "results") {
                skip_results = true;
            } else if notes.is_none() && self.at(TokenKind::String) {
                notes = Some(self.string_literal()?);
            } else {
                break;
            }
        }
        security(SecurityCommand::ChangeRole { change, scope, role, principals, skip_results, notes })
    }

    fn security_scope(&mut self) -> P<Option<SecurityScope>> {
        if self.eat_word("cluster") {
            return Ok(Some(SecurityScope::Cluster));
        }
        if self.eat_word("database") {
            // Without a name the role stands here; a database may have a role's name too.
            let has_name = !(self.at_role() && matches!(self.kind_at(1), TokenKind::OpenParen | TokenKind::Name));
            let has_name = has_name || self.at_role() && self.is_role_at(1);
            return Ok(Some(SecurityScope::Database(if has_name { Some(self.entity_name()?) } else { None })));
        }
        let make: fn(Name) -> SecurityScope = if self.eat_word("table") {
            SecurityScope::Table
        } else if self.eat_words(&["external", "table"]) {
            SecurityScope::ExternalTable
        } else if self.eat_dashed("materialized", "view") {
            SecurityScope::MaterializedView
        } else if self.eat_word("function") {
            SecurityScope::Function
        } else if self.eat_word("graph_model") {
            SecurityScope::GraphModel
        } else {
            return Ok(None);
        };
        Ok(Some(make(self.entity_name()?)))
    }

    fn is_role_at(&self, ahead: usize) -> bool {
        ROLES.iter().any(|role| self.is_word(ahead, role))
    }

    /// Behind `.show principal`: `['p'] roles`, `access`.
    pub(super) fn show_principal(&mut self) -> P<Option<Command>> {
        if self.eat_word("access") {
            return security(SecurityCommand::ShowAccess);
        }
        self.principal_roles(None)
    }

    fn principal_roles(&mut self, scope: Option<SecurityScope>) -> P<Option<Command>> {
        let mut principal = if self.at(TokenKind::String) { Some(self.string_literal()?) } else { None };
        if !self.eat_word("roles") {
            return Ok(None);
        }
        if principal.is_none() && self.at(TokenKind::String) {
            principal = Some(self.string_literal()?);
        }
        security(SecurityCommand::ShowRoles { scope, principal })
    }

    /// Behind the name in `.show table T ...` and its kin: `principals`, `principal ['p'] roles`; nothing is read otherwise.
    pub(super) fn show_security(&mut self, scope: SecurityScope) -> P<Option<Command>> {
        if self.eat_word("principals") {
            return security(SecurityCommand::ShowPrincipals { scope });
        }
        let roles = self.is_word(0, "principal")
            && (self.is_word(1, "roles") || self.kind_at(1) == TokenKind::String && self.is_word(2, "roles"));
        if !roles {
            return Ok(None);
        }
        self.bump();
        self.principal_roles(Some(scope))
    }
}
