//! The results, to be seen.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

use plotters::{coord::Shift, prelude::*, style::text_anchor};

use crate::{
    bound,
    cell::{Cell, Loss, Scenario},
    contender::Contender,
    statistics::QUANTILES,
    summary::{Summaries, Summary},
};

/// Width and height of one panel, and the height of the line below with what the colours mean.
const PANEL: (u32, u32) = (400, 340);
const LEGEND_HEIGHT: u32 = 60;

/// What the share of requests in a distribution ends with: one in a thousand is slower.
const NINES_MAX: f64 = 3.0;

/// Into how many steps the bound, which jumps, is cut.
const STEPS: u16 = 600;

type Svg<'a> = DrawingArea<SVGBackend<'a>, Shift>;

/// How a contender is drawn.
#[derive(Clone, Copy, Debug)]
struct Look {
    name: &'static str,
    color: RGBColor,
    width: u32,
}

/// What no transport can beat is drawn in grey.
const BOUND: Look = Look { name: "bound", color: RGBColor(0x80, 0x80, 0x80), width: 2 };

/// Draws everything for which there are results; returns the files.
pub(crate) fn all(summaries: &Summaries, out: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    let mut file = |name: &str| {
        files.push(out.join(name));
        out.join(name)
    };
    let of_small: BTreeSet<Cell> = cells(summaries, Scenario::Small);
    let round_trips: BTreeSet<u32> = of_small.iter().map(|cell| cell.rtt_ms).collect();
    if !round_trips.is_empty() {
        tails(summaries, &round_trips, &file("p99.svg"))?;
    }
    for rtt_ms in round_trips {
        let panels: Vec<Cell> = of_small.iter().copied().filter(|cell| cell.rtt_ms == rtt_ms).collect();
        distributions(summaries, &panels, &file(&format!("latency-{rtt_ms}ms.svg")))?;
    }
    let of_bulk = cells(summaries, Scenario::Bulk);
    if !of_bulk.is_empty() {
        downloads(summaries, &of_bulk, &file("bulk.svg"))?;
    }
    Ok(files)
}

/// p99 over loss, one panel per round-trip time.
fn tails(summaries: &Summaries, round_trips: &BTreeSet<u32>, file: &Path) -> anyhow::Result<()> {
    let (root, legend, panels) = canvas(file, round_trips.len(), 3)?;
    for (panel, rtt_ms) in panels.iter().zip(round_trips) {
        let losses: Vec<Loss> = losses(summaries, Scenario::Small, *rtt_ms);
        let cell = |loss: &Loss| Cell { rtt_ms: *rtt_ms, loss_permille: *loss };
        let highest = losses.iter().flat_map(|loss| of(summaries, Scenario::Small, cell(loss)));
        let highest = highest.filter_map(|(_, summary)| Some(summary.at_ms(0.99)?.max)).fold(0.0, f64::max);
        let (low, high) = (f64::from(*rtt_ms) * 0.8, (highest * 1.3).max(f64::from(*rtt_ms) * 4.0));
        let range = (low..high).log_scale().with_key_points(round_between(low, high));
        let mut chart = ChartBuilder::on(panel)
            .caption(format!("{rtt_ms} ms round trip"), ("sans-serif", 17))
            .margin(10)
            .x_label_area_size(42)
            .y_label_area_size(62)
            .build_cartesian_2d(positions(&losses), range)?;
        chart
            .configure_mesh()
            .light_line_style(TRANSPARENT)
            .disable_x_mesh()
            .x_labels(losses.len() * 2 + 1)
            .x_desc("lost packets, each way (%)")
            .y_desc("p99 latency (ms)")
            .x_label_formatter(&|at| label_at(&losses, *at))
            .y_label_formatter(&|ms| format!("{ms:.0}"))
            .label_style(("sans-serif", 13))
            .axis_desc_style(("sans-serif", 14))
            .draw()?;
        let beside = |at: u32| [f64::from(at) - 0.15, f64::from(at) + 0.15];
        let bound = losses
            .iter()
            .zip(0_u32..)
            .flat_map(|(loss, at)| beside(at).map(|at| (at, bound::quantile_ms(cell(loss), 0.99))));
        chart.draw_series(DashedLineSeries::new(bound, 6, 4, style(BOUND)))?;
        for contender in contenders(summaries, Scenario::Small) {
            let look = look(contender);
            let at = losses.iter().zip(0_u32..).filter_map(|(loss, at)| {
                let summary = summaries.get(&(Scenario::Small, cell(loss), contender))?;
                Some((f64::from(at), summary.at_ms(0.99)?))
            });
            let spreads: Vec<_> = at.collect();
            chart.draw_series(LineSeries::new(spreads.iter().map(|(at, p99)| (*at, p99.median)), style(look)))?;
            chart
                .draw_series(spreads.iter().map(|(at, p99)| Circle::new((*at, p99.median), 3, look.color.filled())))?;
            chart.draw_series(
                spreads
                    .iter()
                    .map(|(at, p99)| PathElement::new(vec![(*at, p99.min), (*at, p99.max)], look.color.mix(0.5))),
            )?;
        }
    }
    name(&legend, contenders(summaries, Scenario::Small).into_iter().map(look).chain([BOUND]))?;
    root.present()?;
    Ok(())
}

/// The whole distribution of latencies, one panel per loss.
fn distributions(summaries: &Summaries, cells: &[Cell], file: &Path) -> anyhow::Result<()> {
    let (root, legend, panels) = canvas(file, cells.len(), 3)?;
    let all = cells.iter().flat_map(|cell| of(summaries, Scenario::Small, *cell));
    let slowest = all.filter_map(|(_, summary)| Some(summary.at_ms(0.999)?.median)).fold(0.0, f64::max);
    for (panel, cell) in panels.iter().zip(cells) {
        let (low, high) = (f64::from(cell.rtt_ms) * 0.9, (slowest * 1.2).max(f64::from(cell.rtt_ms) * 5.0));
        let range = (low..high).log_scale().with_key_points(round_between(low, high));
        let mut chart = ChartBuilder::on(panel)
            .caption(cell.to_string(), ("sans-serif", 17))
            .margin(10)
            .x_label_area_size(42)
            .y_label_area_size(62)
            .build_cartesian_2d(range, 0.0..NINES_MAX)?;
        chart
            .configure_mesh()
            .light_line_style(TRANSPARENT)
            .x_desc("latency (ms)")
            .y_desc("requests answered within it")
            .y_labels(4)
            .x_label_formatter(&|ms| format!("{ms:.0}"))
            .y_label_formatter(&|nines| share(*nines))
            .label_style(("sans-serif", 13))
            .axis_desc_style(("sans-serif", 14))
            .draw()?;
        let kept = || QUANTILES.into_iter().filter(|quantile| *quantile < 1.0);
        let fine = (0..=u32::from(STEPS)).map(|step| f64::from(step) / f64::from(STEPS) * NINES_MAX);
        let bound = fine.map(|nines| (bound::quantile_ms(*cell, 1.0 - 10_f64.powf(-nines)), nines));
        chart.draw_series(DashedLineSeries::new(bound, 6, 4, style(BOUND)))?;
        for (contender, summary) in of(summaries, Scenario::Small, *cell) {
            let points = kept().filter_map(|quantile| Some((summary.at_ms(quantile)?.median, nines(quantile))));
            chart.draw_series(LineSeries::new(points, style(look(contender))))?;
        }
    }
    name(&legend, contenders(summaries, Scenario::Small).into_iter().map(look).chain([BOUND]))?;
    root.present()?;
    Ok(())
}

/// What one download gets, one panel per loss, over round-trip times.
fn downloads(summaries: &Summaries, cells: &BTreeSet<Cell>, file: &Path) -> anyhow::Result<()> {
    let losses: BTreeSet<Loss> = cells.iter().map(|cell| cell.loss_permille).collect();
    let (root, legend, panels) = canvas(file, losses.len(), 3)?;
    for (panel, loss) in panels.iter().zip(losses) {
        let of_loss: Vec<Cell> = cells.iter().copied().filter(|cell| cell.loss_permille == loss).collect();
        let mut chart = ChartBuilder::on(panel)
            .caption(format!("one download, {loss} loss"), ("sans-serif", 17))
            .margin(10)
            .x_label_area_size(42)
            .y_label_area_size(62)
            .build_cartesian_2d(positions(&of_loss), 0.0..100.0)?;
        chart
            .configure_mesh()
            .light_line_style(TRANSPARENT)
            .disable_x_mesh()
            .x_labels(of_loss.len() * 2 + 1)
            .x_desc("round trip (ms)")
            .y_desc("Mbit/s of 100")
            .x_label_formatter(&|at| item_at(&of_loss, *at).map(|cell| cell.rtt_ms.to_string()).unwrap_or_default())
            .y_label_formatter(&|mbit| format!("{mbit:.0}"))
            .label_style(("sans-serif", 13))
            .axis_desc_style(("sans-serif", 14))
            .draw()?;
        for contender in contenders(summaries, Scenario::Bulk) {
            let look = look(contender);
            let at = of_loss.iter().zip(0_u32..).filter_map(|(cell, at)| {
                Some((f64::from(at), summaries.get(&(Scenario::Bulk, *cell, contender))?.mbit?))
            });
            let spreads: Vec<_> = at.collect();
            chart.draw_series(LineSeries::new(spreads.iter().map(|(at, mbit)| (*at, mbit.median)), style(look)))?;
            chart.draw_series(
                spreads.iter().map(|(at, mbit)| Circle::new((*at, mbit.median), 3, look.color.filled())),
            )?;
        }
    }
    name(&legend, contenders(summaries, Scenario::Bulk).into_iter().map(look))?;
    root.present()?;
    Ok(())
}

/// Makes a file with room for panels, at most `columns` in a row, above a line that names the colours.
fn canvas(file: &Path, panels: usize, columns: usize) -> anyhow::Result<(Svg<'_>, Svg<'_>, Vec<Svg<'_>>)> {
    let columns = panels.clamp(1, columns);
    let rows = panels.div_ceil(columns).max(1);
    let width = PANEL.0 * u32::try_from(columns)?;
    let height = PANEL.1 * u32::try_from(rows)?;
    let root = SVGBackend::new(file, (width, height + LEGEND_HEIGHT)).into_drawing_area();
    root.fill(&WHITE)?;
    let (above, legend) = root.split_vertically(height);
    Ok((root, legend, above.split_evenly((rows, columns))))
}

/// Says which colour is whose, in up to two lines.
fn name(legend: &Svg<'_>, looks: impl Iterator<Item = Look>) -> anyhow::Result<()> {
    let text = ("sans-serif", 14)
        .into_text_style(legend)
        .pos(text_anchor::Pos::new(text_anchor::HPos::Left, text_anchor::VPos::Center));
    let width = i32::try_from(legend.dim_in_pixel().0)?;
    let (mut x, mut y) = (24, 14);
    for look in looks {
        if x + 110 > width {
            (x, y) = (24, y + 24);
        }
        legend.draw(&PathElement::new(vec![(x, y), (x + 24, y)], style(look)))?;
        legend.draw_text(look.name, &text, (x + 30, y))?;
        x += 118;
    }
    Ok(())
}

fn style(look: Look) -> ShapeStyle {
    look.color.stroke_width(look.width)
}

/// Colours that are told apart with any eyes (Okabe and Ito; Tol for the peers). adit's line is the thickest.
fn look(contender: Contender) -> Look {
    let (color, width) = match contender {
        Contender::Adit => (RGBColor(0x00, 0x72, 0xb2), 4),
        Contender::AditCubic => (RGBColor(0x56, 0xb4, 0xe9), 2),
        Contender::GrpcCubic => (RGBColor(0xe6, 0x9f, 0x00), 2),
        Contender::GrpcBbr => (RGBColor(0xd5, 0x5e, 0x00), 2),
        Contender::Direct => (RGBColor(0x00, 0x00, 0x00), 2),
        Contender::DirectBbr => (RGBColor(0x00, 0x9e, 0x73), 2),
        Contender::Rathole => (RGBColor(0xcc, 0x79, 0xa7), 2),
        Contender::FrpTcp => (RGBColor(0x88, 0x22, 0x55), 2),
        Contender::FrpQuic => (RGBColor(0xaa, 0x44, 0x99), 2),
        Contender::Bore => (RGBColor(0x99, 0x99, 0x33), 2),
        Contender::Wstunnel => (RGBColor(0x66, 0x11, 0x00), 2),
        Contender::Chisel => (RGBColor(0x33, 0x22, 0x88), 2),
    };
    Look { name: contender.name(), color, width }
}

/// Returns how many nines a share of requests has, the scale on which tails can be seen.
fn nines(share: f64) -> f64 {
    -(1.0 - share).log10()
}

fn share(nines: f64) -> String {
    let percent = (1.0 - 10_f64.powf(-nines)) * 100.0;
    format!("{} %", (percent * 100.0).round() / 100.0)
}

/// Returns the numbers of the series 1, 2, 5, 10, … in a range.
fn round_between(low: f64, high: f64) -> Vec<f64> {
    let decades = (-3..6).map(|decade| 10_f64.powi(decade));
    let numbers = decades.flat_map(|decade| [1.0, 2.0, 5.0].map(|digit| digit * decade));
    numbers.filter(|number| (low..=high).contains(number)).collect()
}

fn cells(summaries: &Summaries, scenario: Scenario) -> BTreeSet<Cell> {
    summaries.keys().filter(|(of, _, _)| *of == scenario).map(|(_, cell, _)| *cell).collect()
}

fn losses(summaries: &Summaries, scenario: Scenario, rtt_ms: u32) -> Vec<Loss> {
    cells(summaries, scenario).into_iter().filter(|cell| cell.rtt_ms == rtt_ms).map(|cell| cell.loss_permille).collect()
}

fn contenders(summaries: &Summaries, scenario: Scenario) -> BTreeSet<Contender> {
    summaries.keys().filter(|(of, _, _)| *of == scenario).map(|(_, _, contender)| *contender).collect()
}

fn of(summaries: &Summaries, scenario: Scenario, cell: Cell) -> impl Iterator<Item = (Contender, &Summary)> {
    summaries
        .iter()
        .filter(move |((of, of_cell, _), _)| (*of, *of_cell) == (scenario, cell))
        .map(|((_, _, contender), summary)| (*contender, summary))
}

/// Returns an axis with a place for each item, and some room beside.
fn positions<T>(items: &[T]) -> std::ops::Range<f64> {
    -0.2..u32::try_from(items.len().saturating_sub(1)).map_or(0.0, f64::from) + 0.2
}

/// Returns the item at a position of an axis, if one is there.
fn item_at<T>(items: &[T], at: f64) -> Option<&T> {
    items.iter().zip(0_u32..).find(|(_, index)| (at - f64::from(*index)).abs() < 1e-6).map(|(item, _)| item)
}

fn label_at(losses: &[Loss], at: f64) -> String {
    item_at(losses, at).map(|loss| loss.percent().to_string()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        store::tests::{download, run},
        summary::summaries,
    };

    #[test]
    fn every_plot_names_its_contenders_and_axes() {
        let mut runs = Vec::new();
        for rtt in [20, 60] {
            for (loss, p99_ms) in [(0, 22.0), (20, 150.0), (50, 900.0)] {
                runs.push(run(Contender::Adit, (rtt, loss), 1, f64::from(rtt) + 1.0, p99_ms));
                runs.push(run(Contender::GrpcBbr, (rtt, loss), 1, f64::from(rtt) + 2.0, p99_ms * 4.0));
            }
            runs.push(download(Contender::Adit, (rtt, 20), 93));
        }
        let dir = tempfile::tempdir().unwrap();

        let files = all(&summaries(runs.iter()), dir.path()).unwrap();

        let names: Vec<_> = files.iter().map(|file| file.file_name().unwrap().to_str().unwrap()).collect();
        assert_eq!(names, ["p99.svg", "latency-20ms.svg", "latency-60ms.svg", "bulk.svg"]);
        for (file, texts) in files.iter().zip([
            &["adit", "grpc-bbr", "bound", "p99 latency (ms)", "lost packets, each way (%)"][..],
            &["adit", "grpc-bbr", "bound", "latency (ms)", "99.9 %"],
            &["adit", "grpc-bbr", "bound", "latency (ms)", "99.9 %"],
            &["adit", "round trip (ms)", "Mbit/s of 100"],
        ]) {
            let svg = std::fs::read_to_string(file).unwrap();
            for text in texts {
                assert!(svg.contains(text), "{} lacks {text}", file.display());
            }
        }
    }

    #[test]
    fn the_scale_of_a_distribution_is_in_nines() {
        assert_eq!(share(nines(0.0)), "0 %");
        assert_eq!(share(nines(0.9)), "90 %");
        assert_eq!(share(nines(0.999)), "99.9 %");
    }

    #[test]
    fn no_results_make_no_plots() {
        let dir = tempfile::tempdir().unwrap();
        assert!(all(&Summaries::new(), dir.path()).unwrap().is_empty());
    }
}
