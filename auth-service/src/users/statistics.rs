//! How many accounts there are, and of which kinds.

use chrono::TimeDelta;
use ihuman_shared::{Result, access::Role};

use super::store::{
    Kind, State,
    statistics::{self, Group},
};
use crate::context::Context;

/// What counts as new and as active.
const RECENT: TimeDelta = TimeDelta::days(30);

/// The counts. Deleted accounts are in `by_state` only.
#[derive(Clone, Debug)]
pub(crate) struct Statistics {
    pub(crate) total: i64,
    pub(crate) by_role: Vec<(Role, i64)>,
    pub(crate) by_kind: Vec<(Kind, i64)>,
    pub(crate) by_state: Vec<(State, i64)>,
    pub(crate) new_count: i64,
    pub(crate) active_count: i64,
}

/// Counts the accounts.
pub(crate) async fn statistics(context: &Context) -> Result<Statistics> {
    let mut conn = context.db.acquire().await?;
    let all = statistics::count(&mut conn, context.now() - RECENT).await?;
    let count =
        |has: &dyn Fn(&Group) -> bool| all.iter().filter(|it| has(it)).map(|it| it.count).sum();
    let is_there = |it: &Group| it.state != State::Deleted;
    let there = || all.iter().filter(|it| is_there(it));
    Ok(Statistics {
        total: count(&is_there),
        by_role: Role::ALL.map(|role| (role, count(&|it| is_there(it) && it.role == role))).into(),
        by_kind: [Kind::Person, Kind::ServiceAccount]
            .map(|kind| (kind, count(&|it| is_there(it) && it.kind == kind)))
            .into(),
        by_state: [State::Active, State::Deactivated, State::Deleted]
            .map(|state| (state, count(&|it| it.state == state)))
            .into(),
        new_count: there().map(|it| it.new_count).sum(),
        active_count: there().map(|it| it.active_count).sum(),
    })
}
