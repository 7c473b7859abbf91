//! The results, to be read.

use std::fmt::Write;

use crate::{
    bound,
    cell::{Cell, QUEUE_MS, RATE_MBIT, Scenario},
    contender::Contender,
    statistics::Spread,
    summary::{Summaries, Summary},
    targets::{Target, Wanted},
};

/// How much of a failure fits beside the figures; all of it is in the results.
const FAULT_CHARS: usize = 100;

/// Returns tables of everything that was measured.
pub(crate) fn results(summaries: &Summaries) -> String {
    let mut text = String::new();
    for (scenario, what) in [
        (Scenario::Small, "1 KiB → 10 KiB, 200 requests/s, open loop; ms"),
        (
            Scenario::Mixed,
            "1 KiB → 10 KiB, 50 requests/s, open loop, beside 32 downloads; ms, and Mbit/s of the downloads",
        ),
        (Scenario::Bulk, "one download of 64 MiB, up to 15 s; Mbit/s"),
    ] {
        let of_scenario: Vec<_> = summaries.iter().filter(|((of, _, _), _)| *of == scenario).collect();
        if of_scenario.is_empty() {
            continue;
        }
        // A String takes everything.
        let _ = writeln!(
            text,
            "\n{}: {what}; {RATE_MBIT} Mbit/s, queue {QUEUE_MS} ms, median (min–max) over the seeds",
            scenario.name()
        );
        let _ = writeln!(text, "{}", heading(scenario));
        let mut last = None;
        for ((_, cell, contender), summary) in of_scenario {
            let cell_once = if last == Some(*cell) { String::new() } else { format!("\n{cell}") };
            if last.replace(*cell) != Some(*cell) {
                let _ = writeln!(text, "{}{}", cell_once.trim_start_matches('\n'), bound_of(scenario, *cell));
            }
            let _ = writeln!(text, "{}", row(scenario, *cell, *contender, summary));
        }
    }
    text
}

/// Returns a table of the targets.
pub(crate) fn targets(targets: &[Target]) -> String {
    if targets.is_empty() {
        return String::new();
    }
    let mut text = "\ntargets\n".to_owned();
    for target in targets {
        let (sign, limit) = match target.wanted {
            Wanted::AtMost(limit) => ("≤", limit),
            Wanted::AtLeast(limit) => ("≥", limit),
            Wanted::MoreThan(limit) => (">", limit),
        };
        let verdict = match target.distance() {
            _ if target.is_met() => "met".to_owned(),
            distance if distance < 2.0 => format!("missed by {:.1} %", (distance - 1.0) * 100.0),
            distance => format!("missed by {distance:.0} ×"),
        };
        let (what, unit) = (&target.what, target.unit);
        let _ = writeln!(text, "  {what:<62} {:>7.2} {unit:<2} {sign} {limit:<5} {verdict}", target.measured);
    }
    let met = targets.iter().filter(|target| target.is_met()).count();
    let _ = writeln!(text, "  {met} of {} met", targets.len());
    text
}

fn heading(scenario: Scenario) -> String {
    match scenario {
        Scenario::Small | Scenario::Mixed => format!(
            "  {:<11} {:>24} {:>24} {:>8} {:>7}  {}",
            "", "p50", "p99", "p99.9", "p99/bnd", "failed of all; runs (thrown away)"
        ),
        Scenario::Bulk => format!("  {:<11} {:>24}  {}", "", "Mbit/s", "runs (thrown away)"),
    }
}

fn bound_of(scenario: Scenario, cell: Cell) -> String {
    match scenario {
        Scenario::Small => {
            let at = |quantile| bound::quantile_ms(cell, quantile);
            format!("; bound: p50 {:.0} · p99 {:.0} · p99.9 {:.0}", at(0.5), at(0.99), at(0.999))
        }
        Scenario::Mixed | Scenario::Bulk => String::new(),
    }
}

fn row(scenario: Scenario, cell: Cell, contender: Contender, summary: &Summary) -> String {
    let mut text = format!("  {:<11}", contender.name());
    match scenario {
        Scenario::Small | Scenario::Mixed => {
            let p99 = summary.at_ms(0.99);
            let ratio = p99.map(|p99| format!("{:.2}", p99.median / bound::quantile_ms(cell, 0.99)));
            let p999 = summary.at_ms(0.999).map(|p999| format!("{:.0}", p999.median));
            let _ = write!(text, " {:>24} {:>24}", spread(summary.at_ms(0.5)), spread(p99));
            let _ = write!(text, " {:>8} {:>7}", p999.unwrap_or_default(), ratio.unwrap_or_default());
            let failed = summary.errors + summary.timeouts + summary.wrong;
            let _ = write!(text, "  {failed} of {}", summary.requests);
            if failed > 0 {
                let Summary { errors, timeouts, wrong, .. } = summary;
                let _ = write!(text, " ({errors} errors, {timeouts} time-outs, {wrong} wrong bodies)");
            }
            if scenario == Scenario::Mixed {
                let _ = write!(text, "; {} Mbit/s", spread(summary.mbit));
            }
        }
        Scenario::Bulk => {
            let _ = write!(text, " {:>24} ", spread(summary.mbit));
            if summary.incomplete > 0 {
                let _ = write!(text, " incomplete in {} of {}", summary.incomplete, summary.runs);
            }
        }
    }
    let _ = write!(text, "; {}", summary.runs);
    if summary.thrown_away > 0 {
        let _ = write!(text, " ({})", summary.thrown_away);
    }
    if let Some(fault) = summary.faults.first() {
        let short: String = fault.chars().take(FAULT_CHARS).collect();
        let _ = write!(text, "; {} FAILED: {short}", summary.faults.len());
    }
    text
}

fn spread(spread: Option<Spread>) -> String {
    match spread {
        None => "-".to_owned(),
        Some(Spread { median, min, max }) if min.total_cmp(&max).is_eq() => format!("{median:.1}"),
        Some(Spread { median, min, max }) => format!("{median:.1} ({min:.1}–{max:.1})"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        store::tests::{download, run},
        summary::summaries,
        targets,
    };

    #[test]
    fn a_table_shows_medians_spreads_failures_and_the_ratio_to_the_bound() {
        let mut timed_out = run(Contender::GrpcBbr, (20, 20), 1, 40.0, 500.0);
        if let crate::store::Outcome::Measured { measured, .. } = &mut timed_out.outcome {
            measured.small.as_mut().unwrap().timeouts = 7;
        }
        timed_out.thrown_away = 3;
        let runs = [
            run(Contender::Adit, (20, 20), 1, 21.0, 42.0),
            run(Contender::Adit, (20, 20), 2, 23.0, 62.0),
            timed_out,
            download(Contender::Adit, (60, 20), 93),
        ];
        let text = results(&summaries(runs.iter()));
        let row = |name: &str| text.lines().find(|line| line.trim_start().starts_with(name)).unwrap().to_owned();
        assert!(row("adit").contains("22.0 (21.0–23.0)"), "{text}");
        assert!(row("adit").contains("52.0 (42.0–62.0)"), "{text}");
        assert!(row("adit").contains(" 1.27 "), "{text}");
        assert!(row("grpc-bbr").contains("7 of 2000 (0 errors, 7 time-outs, 0 wrong bodies); 1 (3)"), "{text}");
        assert!(text.contains("20 ms, 2 % loss; bound: p50 21 · p99 41"), "{text}");
        assert!(text.lines().any(|line| line.contains("adit") && line.contains("93.0")), "{text}");
    }

    #[test]
    fn a_target_that_is_missed_shows_how_far() {
        let missed = targets::targets(&summaries([run(Contender::Adit, (20, 20), 1, 21.0, 81.9)].iter()));
        assert!(targets(&missed).contains("missed by 60.0 %"), "{}", targets(&missed));
    }
}
