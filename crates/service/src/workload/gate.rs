//! Who may run: counts of each group and principal, and what they used of late.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::Notify;

use super::WorkloadGroup;
use super::definition::{Rate, Scope};
use crate::context::Context;
use crate::error::{Error, Fault, Result};
use crate::usage::Usage;

/// How long a request waits for its turn before it is refused.
const MAX_WAIT: Duration = Duration::from_secs(20);
/// Requests that may wait for their turn, per one that may run.
const WAITING_PER_RUNNING: u64 = 20;
/// The requests that a group may run at once when it says nothing. Source: request-rate-limit-policy.
const MOST_CONCURRENT: u64 = 10_000;
/// Steps in which a sliding window moves.
const STEPS: u32 = 60;
/// Principals that are remembered although nothing of theirs runs.
const MAX_IDLE: usize = 10_000;
/// Requests that used less are not counted. Source: request-rate-limit-policy.
const LEAST_CPU_TICKS: i64 = 50_000;

/// The gate of all groups. Clones share it.
#[derive(Clone, Default)]
pub(crate) struct Gate {
    state: Arc<Mutex<State>>,
    freed: Arc<Notify>,
}

#[derive(Default)]
struct State {
    accounts: HashMap<Key, Account>,
    waiting: HashMap<String, u64>,
}

/// A group, or a principal in it.
type Key = (String, Option<String>);

#[derive(Default)]
struct Account {
    running: u64,
    windows: HashMap<(bool, Duration), Window>,
}

/// What was used within a time: sums of steps.
#[derive(Default)]
struct Window {
    steps: VecDeque<(Instant, f64)>,
}

impl Window {
    fn sum(&mut self, window: Duration, now: Instant) -> f64 {
        while self.steps.front().is_some_and(|(at, _)| now.duration_since(*at) >= window) {
            self.steps.pop_front();
        }
        self.steps.iter().map(|(_, used)| used).sum()
    }

    fn add(&mut self, window: Duration, now: Instant, used: f64) {
        match self.steps.back_mut() {
            Some((at, sum)) if now.duration_since(*at) < window / STEPS => *sum += used,
            _ => self.steps.push_back((now, used)),
        }
    }
}

/// What is asked of a gate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Asked {
    /// To run a query.
    Query,
    /// To run a command of this name.
    Command(&'static str),
}

/// The right to run; ends when dropped.
pub(crate) struct Permit {
    gate: Gate,
    group: Arc<WorkloadGroup>,
    keys: [Key; 2],
    usage: Usage,
}

enum Refused {
    /// Too many run: which limit, of whom.
    Busy { most: u64, scope: Scope },
    /// Too much was used: resource, limit, window, of whom.
    Used { resource: &'static str, most: u64, window: Duration, scope: Scope },
}

impl Gate {
    /// Waits for a turn where the group lets requests wait.
    pub async fn enter(&self, group: &Arc<WorkloadGroup>, context: &Context, asked: Asked) -> Result<Permit> {
        let keys = [(group.name.clone(), None), (group.name.clone(), Some(context.principal.clone()))];
        let patience = (Instant::now() + MAX_WAIT).min(context.deadline);
        let mut waits: Option<Waiting> = None;
        loop {
            // Asked for before the look, so that no turn is missed.
            let freed = self.freed.notified();
            let mut freed = std::pin::pin!(freed);
            freed.as_mut().enable();
            let refused = match self.try_enter(group, &keys, waits.is_none()) {
                Ok(()) => {
                    let usage = context.usage.clone();
                    return Ok(Permit { gate: self.clone(), group: Arc::clone(group), keys, usage });
                }
                Err(refused) => refused,
            };
            let can_wait =
                group.definition.queues && matches!(refused, Refused::Busy { scope: Scope::Group, most: 1.. });
            if !can_wait {
                return Err(told(&refused, &keys, asked));
            }
            if waits.is_none() {
                let Refused::Busy { most, .. } = refused else { return Err(told(&refused, &keys, asked)) };
                waits = Waiting::begin(self, &group.name, most.saturating_mul(WAITING_PER_RUNNING));
                if waits.is_none() {
                    return Err(told(&refused, &keys, asked));
                }
            }
            tokio::select! {
                () = freed => {}
                () = tokio::time::sleep_until(patience.into()) => return Err(told(&refused, &keys, asked)),
                () = context.cancel.cancelled() => return Err(Error::cancelled(None)),
            }
        }
    }

    fn try_enter(&self, group: &WorkloadGroup, keys: &[Key; 2], is_first: bool) -> Result<(), Refused> {
        let now = Instant::now();
        let mut state = self.state.lock();
        if is_first && state.waiting.get(&group.name).is_some_and(|waiting| *waiting > 0) {
            // Who comes later does not pass those who wait.
            if let Some(most) = group.definition.concurrent(Scope::Group)
                && group.definition.queues
            {
                return Err(Refused::Busy { most, scope: Scope::Group });
            }
        }
        if state.accounts.len() > MAX_IDLE {
            state.accounts.retain(|_, account| account.running > 0 || !account.windows.is_empty());
        }
        let default = (Scope::Group, Rate::Concurrent(MOST_CONCURRENT));
        for (scope, rate) in group.definition.rates.iter().chain([&default]) {
            let account = state.accounts.entry(key(keys, *scope).clone()).or_default();
            match *rate {
                Rate::Concurrent(most) if account.running >= most => return Err(Refused::Busy { most, scope: *scope }),
                Rate::Concurrent(_) => {}
                Rate::Requests { most, window } => {
                    if account.windows.entry((false, window)).or_default().sum(window, now) >= most as f64 {
                        return Err(Refused::Used { resource: "RequestCount", most, window, scope: *scope });
                    }
                }
                Rate::CpuSeconds { most, window } => {
                    if account.windows.entry((true, window)).or_default().sum(window, now) >= most as f64 {
                        return Err(Refused::Used { resource: "TotalCpuSeconds", most, window, scope: *scope });
                    }
                }
            }
        }
        for (scope, rate) in &group.definition.rates {
            if let Rate::Requests { window, .. } = rate {
                let account = state.accounts.entry(key(keys, *scope).clone()).or_default();
                account.windows.entry((false, *window)).or_default().add(*window, now, 1.0);
            }
        }
        for key in keys {
            state.accounts.entry(key.clone()).or_default().running += 1;
        }
        Ok(())
    }

    /// Requests of a group that run now.
    #[cfg(test)]
    fn running(&self, group: &str) -> u64 {
        self.state.lock().accounts.get(&(group.to_string(), None)).map_or(0, |account| account.running)
    }

    /// Limits may have changed: whoever waits looks again.
    pub fn look_again(&self) {
        self.freed.notify_waiters();
    }
}

fn key(keys: &[Key; 2], scope: Scope) -> &Key {
    match scope {
        Scope::Group => &keys[0],
        Scope::Principal => &keys[1],
    }
}

/// A place among those who wait.
struct Waiting {
    gate: Gate,
    group: String,
}

impl Waiting {
    fn begin(gate: &Gate, group: &str, most: u64) -> Option<Waiting> {
        let mut state = gate.state.lock();
        let waiting = state.waiting.entry(group.to_string()).or_default();
        if *waiting >= most {
            return None;
        }
        *waiting += 1;
        Some(Waiting { gate: gate.clone(), group: group.to_string() })
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        let mut state = self.gate.state.lock();
        if let Some(waiting) = state.waiting.get_mut(&self.group) {
            *waiting = waiting.saturating_sub(1);
            if *waiting == 0 {
                state.waiting.remove(&self.group);
            }
        }
        drop(state);
        // A turn that was meant for the one who leaves goes to the next.
        self.gate.freed.notify_waiters();
    }
}

/// The refusal in the service's words. Source: request-rate-limit-policy, its tables of messages.
fn told(refused: &Refused, keys: &[Key; 2], asked: Asked) -> Error {
    let origin = |scope: Scope| {
        let (group, principal) = key(keys, scope);
        match principal {
            None => format!("RequestRateLimitPolicy/WorkloadGroup/{group}"),
            Some(principal) => format!("RequestRateLimitPolicy/WorkloadGroup/{group}/Principal/{principal}"),
        }
    };
    match *refused {
        Refused::Busy { most, scope } => throttled(asked, most, &origin(scope)),
        Refused::Used { resource, most, window, scope } => {
            let mut span = Vec::new();
            tidewater_kql::value::timespan::write(window.as_nanos() as i64 / 100, &mut span);
            let (window, origin) = (String::from_utf8_lossy(&span), origin(scope));
            let message = format!(
                "The request was denied due to exceeding quota limitations. Resource: '{resource}', Quota: '{most}', \
                 TimeWindow: '{window}', Origin: '{origin}'."
            );
            Error::new(Fault::QuotaExceeded, message)
        }
    }
}

/// Too many at once, in the service's words.
pub(crate) fn throttled(asked: Asked, most: u64, origin: &str) -> Error {
    const RETRY: &str = "Retrying after some backoff might succeed.";
    match asked {
        Asked::Query => Error::new(
            Fault::Throttled,
            format!("The query was aborted due to throttling. {RETRY} Capacity: {most}, Origin: '{origin}'."),
        ),
        Asked::Command(name) => Error::new(
            Fault::CommandThrottled,
            format!(
                "The management command was aborted due to throttling. {RETRY} CommandType: '{name}', Capacity: {most}, \
                 Origin: '{origin}'."
            ),
        ),
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let now = Instant::now();
        let cpu = self.usage.cpu_ticks();
        let mut state = self.gate.state.lock();
        for key in &self.keys {
            if let Some(account) = state.accounts.get_mut(key) {
                account.running = account.running.saturating_sub(1);
            }
        }
        for (scope, rate) in &self.group.definition.rates {
            if let Rate::CpuSeconds { window, .. } = rate
                && cpu > LEAST_CPU_TICKS
                && let Some(account) = state.accounts.get_mut(key(&self.keys, *scope))
            {
                account.windows.entry((true, *window)).or_default().add(*window, now, cpu as f64 / 1e7);
            }
        }
        let is_idle = |account: &Account| account.running == 0 && account.windows.is_empty();
        if state.accounts.get(&self.keys[1]).is_some_and(is_idle) {
            state.accounts.remove(&self.keys[1]);
        }
        let has_waiting = state.waiting.contains_key(&self.group.name);
        drop(state);
        if has_waiting {
            self.gate.freed.notify_waiters();
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::workload::definition::Definition;

    fn group(value: serde_json::Value) -> Arc<WorkloadGroup> {
        Arc::new(WorkloadGroup { name: "G".into(), definition: Definition::of(&value).unwrap() })
    }

    fn concurrent(scope: &str, most: u64) -> serde_json::Value {
        json!({"Scope": scope, "LimitKind": "ConcurrentRequests", "Properties": {"MaxConcurrentRequests": most}})
    }

    fn used(resource: &str, most: u64, window: &str) -> serde_json::Value {
        let properties = json!({"ResourceKind": resource, "MaxUtilization": most, "TimeWindow": window});
        json!({"Scope": "Principal", "LimitKind": "ResourceUtilization", "Properties": properties})
    }

    async fn refusal(gate: &Gate, group: &Arc<WorkloadGroup>, context: &Context, asked: Asked) -> String {
        match gate.enter(group, context, asked).await {
            Ok(_) => "entered".to_string(),
            Err(error) => error.message().to_string(),
        }
    }

    #[tokio::test]
    async fn too_many_at_once_are_told_in_the_services_words() {
        let gate = Gate::default();
        let group =
            group(json!({"RequestRateLimitPolicies": [concurrent("WorkloadGroup", 2), concurrent("Principal", 1)]}));
        let (mut mine, mut other, mut third) = (Context::new("D"), Context::new("D"), Context::new("D"));
        mine.principal = "aaduser=me".into();
        other.principal = "aaduser=other".into();
        third.principal = "aaduser=third".into();
        let first = gate.enter(&group, &mine, Asked::Query).await.unwrap();
        assert_eq!(
            refusal(&gate, &group, &mine, Asked::Query).await,
            "The query was aborted due to throttling. Retrying after some backoff might succeed. Capacity: 1, Origin: \
             'RequestRateLimitPolicy/WorkloadGroup/G/Principal/aaduser=me'."
        );
        let second = gate.enter(&group, &other, Asked::Query).await.unwrap();
        assert_eq!(
            refusal(&gate, &group, &third, Asked::Command("TableCreate")).await,
            "The management command was aborted due to throttling. Retrying after some backoff might succeed. CommandType: \
             'TableCreate', Capacity: 2, Origin: 'RequestRateLimitPolicy/WorkloadGroup/G'."
        );
        assert_eq!(gate.running("G"), 2);
        drop((first, second));
        assert_eq!(refusal(&gate, &group, &mine, Asked::Query).await, "entered");
        assert_eq!(gate.running("G"), 0);
    }

    #[tokio::test]
    async fn a_quota_is_told_with_its_window_and_comes_back() {
        let gate = Gate::default();
        let group = group(json!({"RequestRateLimitPolicies": [used("RequestCount", 2, "00:00:01")]}));
        let mut context = Context::new("D");
        context.principal = "aadapp=x".into();
        for _ in 0..2 {
            assert_eq!(refusal(&gate, &group, &context, Asked::Query).await, "entered");
        }
        assert_eq!(
            refusal(&gate, &group, &context, Asked::Query).await,
            "The request was denied due to exceeding quota limitations. Resource: 'RequestCount', Quota: '2', TimeWindow: \
             '00:00:01', Origin: 'RequestRateLimitPolicy/WorkloadGroup/G/Principal/aadapp=x'."
        );
        let deadline = Instant::now() + Duration::from_secs(10);
        while refusal(&gate, &group, &context, Asked::Query).await != "entered" {
            assert!(Instant::now() < deadline);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    #[tokio::test]
    async fn processor_time_counts_when_a_request_has_ended() {
        let gate = Gate::default();
        let group = group(json!({"RequestRateLimitPolicies": [used("TotalCpuSeconds", 1, "01:00:00")]}));
        let context = Context::new("D");
        let permit = gate.enter(&group, &context, Asked::Query).await.unwrap();
        context.usage.add_execution(Duration::from_secs(2));
        assert_eq!(refusal(&gate, &group, &Context::new("D"), Asked::Query).await, "entered");
        drop(permit);
        assert!(refusal(&gate, &group, &Context::new("D"), Asked::Query).await.contains("TotalCpuSeconds"));
    }

    #[tokio::test]
    async fn requests_queue_where_the_group_says_so() {
        let gate = Gate::default();
        let group = group(json!({
            "RequestRateLimitPolicies": [concurrent("WorkloadGroup", 1)], "RequestQueuingPolicy": {"IsEnabled": true}
        }));
        let first = gate.enter(&group, &Context::new("D"), Asked::Query).await.unwrap();
        let mut waiting = Vec::new();
        for _ in 0..20 {
            let (gate, group) = (gate.clone(), Arc::clone(&group));
            waiting
                .push(tokio::spawn(async move { gate.enter(&group, &Context::new("D"), Asked::Query).await.is_ok() }));
        }
        while gate.state.lock().waiting.get("G").is_none_or(|waiting| *waiting < 20) {
            tokio::task::yield_now().await;
        }
        assert!(refusal(&gate, &group, &Context::new("D"), Asked::Query).await.contains("Capacity: 1"));
        drop(first);
        for task in waiting {
            assert!(task.await.unwrap());
        }
        assert!(gate.state.lock().waiting.is_empty());
        let blocked = self::group(json!({"RequestRateLimitPolicies": [concurrent("WorkloadGroup", 0)]}));
        assert!(refusal(&gate, &blocked, &Context::new("D"), Asked::Query).await.contains("Capacity: 0"));
    }
}
