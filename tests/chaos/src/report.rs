//! What is shown at the end.

use std::{fmt::Write as _, time::Duration};

use crate::{
    fault::Touch,
    judge::{Row, Verdict, by_frequency},
};

/// How many cases of each broken promise are shown.
const CASES_MAX: usize = 5;

/// Returns the table, in Markdown.
pub(crate) fn table(verdict: &Verdict) -> String {
    let mut text = String::from(
        "| fault | times | longest outage | requests | failed | corrupt | twice | late | p99 to the head | failures seen |\n\
         |---|---|---|---|---|---|---|---|---|---|\n",
    );
    for ((name, touch), row) in &verdict.touched {
        let who = match touch {
            Touch::Spare => "another client takes over",
            Touch::Sole => "no other way",
            Touch::Entry => "its own entry",
        };
        line(&mut text, &format!("{name}; {who}"), &format!("{}", row.times), &format!("{:.1?}", row.outage), row);
    }
    line(&mut text, "none", "", "", &verdict.untouched);
    text
}

fn line(text: &mut String, name: &str, times: &str, outage: &str, row: &Row) {
    let seen = by_frequency(&row.failed).into_iter().map(|(name, count)| format!("{count} × {name}"));
    let seen = seen.collect::<Vec<_>>().join(", ");
    // Writing to a string does not fail.
    let _ = writeln!(
        text,
        "| {name} | {times} | {outage} | {} | {} | {} | {} | {} | {} | {seen} |",
        row.requests,
        row.failures(),
        row.corrupt,
        row.twice,
        row.late,
        quantile(&row.to_head, 0.99).map_or("-".to_owned(), |p99| format!("{p99:.0?}")),
    );
}

/// Returns the broken promises, with the first cases of each.
pub(crate) fn breaches(verdict: &Verdict) -> String {
    let mut text = String::new();
    for (about, cases) in &verdict.breaches {
        let _ = writeln!(text, "{about}: {}", cases.len());
        for case in cases.iter().take(CASES_MAX) {
            let _ = writeln!(text, "    {case}");
        }
    }
    text
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "an index below the length")]
fn quantile(times: &[Duration], share: f64) -> Option<Duration> {
    let mut times = times.to_vec();
    times.sort_unstable();
    let index = (times.len().saturating_sub(1) as f64 * share) as usize;
    times.get(index).copied()
}
