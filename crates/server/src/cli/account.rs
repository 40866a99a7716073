//! `tidewater account`: the accounts that a server signs in by itself.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

use crate::auth::accounts::{self, AccountRole, Kind};

#[derive(Subcommand)]
pub enum Command {
    /// Add an account and print its secret, which is shown this once
    #[command(after_help = "Example:\n  tidewater account add ci --name 'Build robot' --file accounts.toml")]
    Add(Add),
    /// List the accounts
    #[command(after_help = "Example:\n  tidewater account list --file accounts.toml")]
    List(File),
    /// Remove an account; its secret and its tokens end at once
    #[command(after_help = "Example:\n  tidewater account remove ci --file accounts.toml")]
    Remove(Remove),
}

#[derive(Args)]
pub struct File {
    /// The accounts file, as in the server's setting 'accounts_file'
    #[arg(long, env = "TIDEWATER_ACCOUNTS_FILE", value_name = "FILE")]
    file: PathBuf,
}

#[derive(Args)]
pub struct Add {
    /// Its id: letters, digits, '-', '_', '.', '@'
    id: String,
    /// What it stands for
    #[arg(long, value_enum, default_value_t = KindArgument::Application)]
    kind: KindArgument,
    /// A name for people
    #[arg(long, default_value = "", value_name = "NAME")]
    name: String,
    /// A group it belongs to; may be repeated
    #[arg(long, value_name = "GROUP")]
    group: Vec<String>,
    /// A role on the whole server: all databases; may be repeated
    #[arg(long, value_enum, value_name = "ROLE")]
    role: Vec<RoleArgument>,
    #[command(flatten)]
    file: File,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum KindArgument {
    /// A program
    Application,
    /// A person
    User,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum RoleArgument {
    /// AllDatabasesAdmin: everything
    Admin,
    /// AllDatabasesViewer: reads all databases
    Viewer,
    /// AllDatabasesMonitor: looks at what the server does
    Monitor,
}

#[derive(Args)]
pub struct Remove {
    /// Its id
    id: String,
    #[command(flatten)]
    file: File,
}

/// Runs the command.
pub fn run(command: Command) -> Result<(), String> {
    match command {
        Command::Add(add) => {
            let kind = match add.kind {
                KindArgument::Application => Kind::Application,
                KindArgument::User => Kind::User,
            };
            let roles = add.role.into_iter().map(|role| match role {
                RoleArgument::Admin => AccountRole::Admin,
                RoleArgument::Viewer => AccountRole::Viewer,
                RoleArgument::Monitor => AccountRole::Monitor,
            });
            let secret = accounts::add(&add.file.file, &add.id, kind, &add.name, add.group, roles.collect())?;
            println!("{secret}");
            Ok(())
        }
        Command::List(file) => {
            let mut table = super::query::bare_table();
            table.set_header(["id", "kind", "name", "groups", "roles"]);
            for account in accounts::list(&file.file)? {
                let kind = if account.kind == Kind::User { "user" } else { "application" };
                let roles: Vec<&str> = account.roles.iter().map(|role| role.word()).collect();
                table.add_row([
                    account.id,
                    kind.to_string(),
                    account.name,
                    account.groups.join(", "),
                    roles.join(", "),
                ]);
            }
            println!("{table}");
            Ok(())
        }
        Command::Remove(remove) => match accounts::remove(&remove.file.file, &remove.id)? {
            true => Ok(()),
            false => Err(format!("there is no account '{}' in {}", remove.id, remove.file.file.display())),
        },
    }
}
