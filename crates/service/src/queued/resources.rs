//! The addresses of this server's own storage, and who may have them: `.get ingestion resources` and
//! `.get kusto identity token`.
//!
//! The clients' libraries take such an address apart in two ways. At an address of numbers or at `localhost` the first
//! part of the path is an account, as with Azure's own emulator; at a host with a name the container or queue comes
//! first. The status table always has one part, because the JavaScript library takes the whole path for its name.

use tidewater_kql::KqlType;

use crate::answer::ResultTable;
use crate::context::{Context, now_ticks};
use crate::error::{Error, Result};
use crate::rights::Access;
use crate::service::Service;
use crate::table::TableBuilder;

/// The account in path-style addresses.
pub const ACCOUNT: &str = "tidewaterstore";

/// A part of this server's storage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resource {
    /// The container of uploads.
    Uploads,
    /// The queue of files to be ingested.
    Ready,
    /// The queue of those that were.
    Succeeded,
    /// The queue of those that were not.
    Failed,
    /// The table of their states.
    Status,
}

impl Resource {
    /// All of them, in the order in which they are told.
    pub const ALL: [Resource; 5] =
        [Resource::Ready, Resource::Uploads, Resource::Failed, Resource::Succeeded, Resource::Status];

    /// Its name in addresses.
    pub fn name(self) -> &'static str {
        match self {
            Resource::Uploads => "tidewateruploads",
            Resource::Ready => "tidewaterready",
            Resource::Succeeded => "tidewatersucceeded",
            Resource::Failed => "tidewaterfailed",
            Resource::Status => "tidewaterstatus",
        }
    }

    fn kind(self) -> &'static str {
        match self {
            Resource::Uploads => "TempStorage",
            Resource::Ready => "SecuredReadyForAggregationQueue",
            Resource::Succeeded => "SuccessfulIngestionsQueue",
            Resource::Failed => "FailedIngestionsQueue",
            Resource::Status => "IngestionsStatusTable",
        }
    }

    /// What its signed addresses allow.
    fn permissions(self) -> &'static str {
        match self {
            // Create, write, read back, delete; no listing: names are secrets of those who chose them.
            Resource::Uploads => "rwcd",
            Resource::Ready => "a",
            Resource::Succeeded | Resource::Failed => "rup",
            Resource::Status => "raud",
        }
    }

    /// The resource of a path, and what comes behind it, decoded.
    pub fn of_path(path: &str) -> Option<(Resource, String)> {
        let decoded = percent_encoding::percent_decode_str(path.trim_start_matches('/')).decode_utf8().ok()?;
        let path = match decoded.strip_prefix(ACCOUNT) {
            Some(rest) => rest.strip_prefix('/')?,
            None => &decoded,
        };
        let end = path.find(['/', '(']).unwrap_or(path.len());
        let resource = Resource::ALL.into_iter().find(|resource| resource.name() == &path[..end])?;
        let rest = &path[end..];
        if rest.starts_with('(') && resource != Resource::Status {
            return None;
        }
        Some((resource, rest.strip_prefix('/').unwrap_or(rest).to_string()))
    }
}

fn address(base: &str, resource: Resource) -> String {
    let base = base.trim_end_matches('/');
    let host = reqwest::Url::parse(base).ok().and_then(|url| url.host_str().map(str::to_string)).unwrap_or_default();
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let is_near = bare.parse::<std::net::IpAddr>().is_ok() || bare.eq_ignore_ascii_case("localhost");
    match is_near && resource != Resource::Status {
        true => format!("{base}/{ACCOUNT}/{}", resource.name()),
        false => format!("{base}/{}", resource.name()),
    }
}

impl Service {
    /// `.get ingestion resources`
    pub(crate) fn ingestion_resources(&self, context: &Context, access: &Access) -> Result<ResultTable> {
        self.require_ingestor(access)?;
        let mut out = TableBuilder::new(&[("ResourceTypeName", KqlType::String), ("StorageRoot", KqlType::String)]);
        for (resource, address) in self.signed_resources(context) {
            out.row(vec![resource.kind().into(), address.into()]);
        }
        out.finish()
    }

    /// `.show export containers`: what the SDKs' own tests ask for a place to put files at.
    pub(crate) fn export_containers(&self, context: &Context, access: &Access) -> Result<ResultTable> {
        self.require_ingestor(access)?;
        let mut out = TableBuilder::new(&[("StorageRoot", KqlType::String)]);
        for (_, address) in self.signed_resources(context).into_iter().filter(|(it, _)| *it == Resource::Uploads) {
            out.row(vec![address.into()]);
        }
        out.finish()
    }

    /// `.get kusto identity token`
    pub(crate) fn identity_token(&self, context: &Context, access: &Access) -> Result<ResultTable> {
        self.require_ingestor(access)?;
        let token = self.inner().queued.key.token(&context.identity, now_ticks())?;
        let mut out = TableBuilder::new(&[("AuthorizationContext", KqlType::String)]);
        out.row(vec![token.into()]);
        out.finish()
    }

    /// The container of uploads for whoever may ingest something.
    pub fn upload_container(&self, context: &Context) -> Result<String> {
        let access = Access::of(&self.inner().options.rights, context, self.store().snapshot());
        self.require_ingestor(&access)?;
        let found = self.signed_resources(context).into_iter().find(|(resource, _)| *resource == Resource::Uploads);
        found.map(|(_, address)| address).ok_or_else(|| Error::internal("there is no container of uploads"))
    }

    fn signed_resources(&self, context: &Context) -> Vec<(Resource, String)> {
        let inner = self.inner();
        let own = inner.options.cluster_names.first().map_or("http://127.0.0.1", String::as_str);
        let base = context.base_url.as_deref().unwrap_or(own);
        let signed = |resource: Resource| {
            let query = inner.queued.key.query(resource.name(), resource.permissions(), now_ticks());
            (resource, format!("{}?{query}", address(base, resource)))
        };
        Resource::ALL.map(signed).to_vec()
    }

    /// Refuses those who may ingest nowhere.
    pub(crate) fn require_ingestor(&self, access: &Access) -> Result<()> {
        let snapshot = self.store().snapshot();
        let may = access.is_everything()
            || snapshot.databases().any(|database| {
                access.may_ingest_anywhere(database)
                    || database.tables().any(|table| access.may_ingest(database, table))
            });
        if may { Ok(()) } else { Err(access.refused("ingest into any table")) }
    }

    /// Refuses those who may not ingest into a table.
    pub(crate) fn check_may_ingest(&self, context: &Context, table: &str) -> Result<()> {
        if context.readonly {
            return Err(Error::read_only("ingestion"));
        }
        let snapshot = self.store().snapshot();
        let access = Access::of(&self.inner().options.rights, context, std::sync::Arc::clone(&snapshot));
        let Some(database) = snapshot.database(&context.database) else {
            return Err(Error::database_not_found(&context.database));
        };
        let known = database.table(table);
        let may = match known {
            Some(table) => access.may_ingest(database, table),
            None => access.may_ingest_anywhere(database) || access.may_show(database),
        };
        if !may {
            let name = database.name();
            return Err(access.refused(&format!("ingest into table '{table}' of database '{name}'")));
        }
        if known.is_none() { Err(Error::entity_not_found("Table", table)) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_name_resources_with_and_without_an_account() {
        let of = Resource::of_path;
        assert_eq!(of("/tidewaterstore/tidewateruploads/a%20b/c.csv"), Some((Resource::Uploads, "a b/c.csv".into())));
        assert_eq!(of("/tidewaterready/messages"), Some((Resource::Ready, "messages".into())));
        assert_eq!(
            of("/tidewaterstatus(PartitionKey='a',RowKey='b')"),
            Some((Resource::Status, "(PartitionKey='a',RowKey='b')".into()))
        );
        assert_eq!(of("/tidewaterstatus"), Some((Resource::Status, String::new())));
        for other in
            ["/", "/NetDefaultDB", "/tidewaterstore", "/tidewaterready(x)", "/tidewaterreadyx/y", "/v1/rest/mgmt"]
        {
            assert_eq!(of(other), None, "{other}");
        }
    }

    #[test]
    fn an_account_stands_in_addresses_without_a_name_only() {
        assert_eq!(
            address("http://127.0.0.1:8080", Resource::Ready),
            "http://127.0.0.1:8080/tidewaterstore/tidewaterready"
        );
        assert_eq!(address("http://[::1]:8080/", Resource::Ready), "http://[::1]:8080/tidewaterstore/tidewaterready");
        assert_eq!(address("https://localhost:8443", Resource::Status), "https://localhost:8443/tidewaterstatus");
        assert_eq!(address("https://data.example.com", Resource::Uploads), "https://data.example.com/tidewateruploads");
    }
}
