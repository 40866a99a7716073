//! Query templates: statements with names and default parameters. Source: query-service-api section 14.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use tidewater_store::JobRecord;

use super::list::Keep;
use super::{Filter, ListRequest, Page, Tenant};
use crate::error::{Error, Result};
use crate::service::Service;

const KIND: &str = "template";
/// Templates have one state.
const STATE: &str = "";

/// What its author writes of a template.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TemplateText {
    /// The statement, with placeholders.
    pub sql: String,
    /// Its name; several templates may share one.
    pub name: String,
    /// Values for placeholders that a query does not give.
    #[serde(rename = "queryParameters")]
    pub parameters: Map<String, Value>,
}

/// A template. Times are microseconds since 1970.
#[derive(Clone, Debug, PartialEq)]
pub struct Template {
    /// UUID.
    pub id: String,
    /// What its author wrote.
    pub text: TemplateText,
    /// When it was made.
    pub created: i64,
    /// When it was last written.
    pub updated: i64,
    /// Who made it.
    pub user: String,
    /// Who last changed it.
    pub updated_by: Option<String>,
}

#[derive(Serialize, Deserialize)]
struct Body {
    text: TemplateText,
    user: String,
    updated_by: Option<String>,
}

fn template_of(record: &JobRecord) -> Result<Template> {
    let unreadable = |_| Error::internal(format!("the record of template {} cannot be read", record.id));
    let body: Body = serde_json::from_value(record.value.clone()).map_err(unreadable)?;
    let (created, updated) = (record.created, record.updated);
    Ok(Template {
        id: record.id.clone(),
        text: body.text,
        created,
        updated,
        user: body.user,
        updated_by: body.updated_by,
    })
}

fn value_of(body: &Body) -> Result<Value> {
    serde_json::to_value(body).map_err(|error| Error::internal(error.to_string()))
}

fn holds(filter: &Filter, record: &JobRecord) -> bool {
    let Ok(template) = template_of(record) else { return false };
    match filter.field.as_str() {
        "name" => filter.text(&template.text.name),
        "userId" => filter.text(&template.user),
        "lastUpdatedBy" => template.updated_by.as_deref().is_some_and(|user| filter.text(user)),
        _ => false,
    }
}

impl Service {
    /// Stores a template.
    pub async fn create_template(&self, tenant: &Tenant, text: TemplateText, user: &str) -> Result<Template> {
        let value = value_of(&Body { text, user: user.to_string(), updated_by: None })?;
        let id = uuid::Uuid::new_v4().to_string();
        let record = self.store().jobs().insert(KIND, &tenant.scope(), &id, |_| (STATE.to_string(), value)).await?;
        template_of(&record)
    }

    /// The template with this id.
    pub async fn template(&self, tenant: &Tenant, id: &str) -> Result<Option<Template>> {
        self.store().jobs().get(KIND, &tenant.scope(), id).await?.as_ref().map(template_of).transpose()
    }

    /// Writes a template anew; `None` when there is none with this id.
    pub async fn update_template(
        &self,
        tenant: &Tenant,
        id: &str,
        text: TemplateText,
        user: &str,
    ) -> Result<Option<Template>> {
        self.own_template(tenant, id, "change").await?;
        let user = user.to_string();
        let change = move |record: &mut JobRecord, _| {
            let before: Result<Body, _> = serde_json::from_value(record.value.clone());
            let made_by = before.map(|body| body.user).unwrap_or_default();
            if let Ok(value) = value_of(&Body { text, user: made_by, updated_by: Some(user) }) {
                record.value = value;
            }
        };
        let changed = self.store().jobs().update(KIND, &tenant.scope(), id, change).await?;
        changed.map(|(record, ())| template_of(&record)).transpose()
    }

    /// Removes a template; tells whether there was one.
    pub async fn delete_template(&self, tenant: &Tenant, id: &str) -> Result<bool> {
        self.own_template(tenant, id, "delete").await?;
        Ok(self.store().jobs().remove(KIND, &tenant.scope(), id).await?)
    }

    /// Refuses the template of another: schedules run its text with the rights of those who trust it.
    async fn own_template(&self, tenant: &Tenant, id: &str, action: &str) -> Result<()> {
        match self.store().jobs().get(KIND, &tenant.scope(), id).await? {
            Some(record) if !self.seen(tenant).holds(&record) => {
                Err(self.refused(tenant, &format!("{action} the template of another principal")))
            }
            _ => Ok(()),
        }
    }

    /// Lists templates.
    pub async fn list_templates(&self, tenant: &Tenant, request: ListRequest) -> Result<Page<Template>> {
        let filters = request.filters.clone();
        let keep: Keep = Arc::new(move |record| filters.iter().all(|filter| holds(filter, record)));
        self.list_records(KIND, &tenant.scope(), &request, keep, template_of).await
    }

    /// How many templates fit.
    pub async fn count_templates(&self, tenant: &Tenant, filters: Vec<Filter>) -> Result<usize> {
        let keep = move |record: &JobRecord| filters.iter().all(|filter| holds(filter, record));
        Ok(self.store().jobs().count(KIND, &tenant.scope(), keep).await?)
    }
}
