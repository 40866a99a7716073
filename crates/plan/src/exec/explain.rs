//! Execution plans as texts, for people and for tests that a plan stays what it was.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Arc;

use datafusion::physical_plan::{ExecutionPlan, displayable};

use super::shared::SharedExec;
use super::turns::without_turns;

/// A plan, an operator per line under the one it feeds, and below it each shared computation that it reads.
pub fn text(plan: &Arc<dyn ExecutionPlan>) -> String {
    let mut out = displayable(without_turns(plan).as_ref()).indent(false).to_string();
    let mut shown = BTreeMap::new();
    let mut waiting = vec![Arc::clone(plan)];
    while let Some(plan) = waiting.pop() {
        waiting.extend(plan.children().into_iter().map(Arc::clone));
        let Some(shared) = plan.downcast_ref::<SharedExec>() else { continue };
        let (number, cell) = shared.computation();
        if let Some(physical) = cell.physical()
            && !shown.contains_key(&number)
        {
            shown.insert(number, displayable(without_turns(physical).as_ref()).indent(false).to_string());
            waiting.push(Arc::clone(physical));
        }
    }
    for (number, text) in shown {
        let _ = write!(out, "Shared {number}:\n{text}");
    }
    out
}
