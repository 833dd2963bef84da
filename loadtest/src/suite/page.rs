//! The report as one page: a table per scenario, and what happened over time.

use std::fmt::Write as _;

use super::plot::{self, Curve, bars, curves, escaped, number};
use super::{Run, Shown, SuiteReport};
use crate::load::{Quantiles, Sample, StormReport};

const STYLE: &str = "
:root { color-scheme: light dark; --line: #8884; }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.6rem; } h2 { margin-top: 3rem; border-top: 1px solid var(--line); padding-top: 1.5rem; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; font-size: 0.9rem; }
th, td { text-align: right; padding: 0.3rem 0.6rem; border-bottom: 1px solid var(--line); white-space: nowrap; }
th:first-child, td:first-child { text-align: left; }
.dot { display: inline-block; width: 0.7rem; height: 0.7rem; border-radius: 50%; margin-right: 0.5rem; }
.plots { display: grid; grid-template-columns: repeat(auto-fit, minmax(22rem, 1fr)); gap: 1rem; margin-top: 1rem; }
figure { margin: 0; } figcaption { font-size: 0.85rem; opacity: 0.8; }
svg { width: 100%; height: auto; } svg text { font-size: 11px; fill: currentColor; } .tick { text-anchor: end; opacity: 0.8; }
.grid { stroke: var(--line); } polyline { fill: none; stroke-width: 1.6; }
.bad { color: #c8553d; font-weight: 600; }
";

/// With fewer connections than this, what else the server keeps would be counted as theirs.
const CONNECTIONS_LEAST: usize = 500;

pub(super) fn of(report: &SuiteReport) -> String {
    let mut out = String::from(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\">\
         <title>Wayfare under load</title><style>",
    );
    out.push_str(STYLE);
    // Writing to a String cannot fail.
    let _ = write!(
        out,
        "</style></head><body><h1>Wayfare under load</h1><p>Measured on {}. The load generator ran on the same machine, so latencies hold both. \
         CPU times are of the server's process alone, user and system.</p>",
        escaped(&report.machine)
    );
    for shown in &report.scenarios {
        scenario(&mut out, shown);
    }
    out.push_str("</body></html>\n");
    out
}

fn scenario(out: &mut String, shown: &Shown) {
    let _ = write!(out, "<h2>{}</h2><p>{}</p>", escaped(shown.title), escaped(&shown.about));
    if let Some(report) = &shown.storm {
        storm(out, report);
    }
    if shown.runs.is_empty() {
        return;
    }
    table(out, &shown.runs);
    out.push_str("<div class=\"plots\">");
    let bar = |title: &str, unit: &str, of: fn(&Run) -> Option<f64>| {
        let values: Vec<(usize, &str, f64)> =
            shown.runs.iter().enumerate().filter_map(|(place, run)| Some((place, &*run.name, of(run)?))).collect();
        bars(title, unit, &values)
    };
    out.push_str(&bar("CPU time per delivery", "µs", |run| {
        run.report.server.map(|server| server.cpu_us_per_delivery).filter(|_| run.report.delivered > 0)
    }));
    out.push_str(&bar("Memory per connection", "KiB", |run| {
        let server = run.report.server?;
        if run.report.connections < CONNECTIONS_LEAST {
            return None;
        }
        let grown = (server.rss_mib - server.rss_before_mib) * 1024.0;
        Some(grown / run.report.connections.max(1) as f64)
    }));
    out.push_str(&bar("Bytes per delivery", "on the wire, without TCP", |run| {
        Some(run.report.bytes_per_delivery).filter(|bytes| *bytes > 0.0)
    }));
    let curve = |title: &str, unit: &str, of: fn(&Sample) -> Option<f64>| {
        let all: Vec<Curve> = shown
            .runs
            .iter()
            .enumerate()
            .map(|(number, run)| Curve {
                number,
                points: run.report.trace.iter().filter_map(|sample| Some((sample.at_s, of(sample)?))).collect(),
            })
            .collect();
        curves(title, unit, &all)
    };
    out.push_str(&curve("Delivery, 99 of 100 faster", "ms", |sample| sample.p99_ms));
    out.push_str(&curve("Delivery, half faster", "ms", |sample| sample.p50_ms));
    out.push_str(&curve("Deliveries", "per second", |sample| Some(sample.deliveries_per_s).filter(|rate| *rate > 0.0)));
    out.push_str(&curve("Bytes", "per second", |sample| Some(sample.bytes_per_s).filter(|rate| *rate > 0.0)));
    out.push_str(&curve("Server's CPU", "cores", |sample| sample.server_cores));
    out.push_str(&curve("Server's memory", "MiB", |sample| sample.rss_mib));
    out.push_str("</div>");
}

fn table(out: &mut String, runs: &[Run]) {
    out.push_str(
        "<div class=\"wide\"><table><thead><tr><th></th><th>fixes/s</th><th>deliveries/s</th><th>p50 ms</th><th>p99 ms</th><th>µs per fix</th>\
         <th>µs per delivery</th><th>times the first</th><th>bytes each</th><th>MiB</th><th>not delivered</th><th>trouble</th></tr></thead><tbody>",
    );
    let cost = |run: &Run| run.report.server.map_or(0.0, |server| server.cpu_us_per_delivery);
    for (place, run) in runs.iter().enumerate() {
        let report = &run.report;
        // What matters most of what was measured: deliveries, or positions when there is too much, or markers.
        let times = report.age.or(report.delivery).or(report.map);
        let quantile = |of: fn(&Quantiles) -> f64| times.as_ref().map_or("–".into(), |times| number(of(times)));
        let beside =
            if cost(&runs[0]) > 0.0 && cost(run) > 0.0 { number(cost(run) / cost(&runs[0])) } else { "–".into() };
        let trouble = report.errors + report.connections_closed;
        let server = report.server;
        let _ = write!(
            out,
            "<tr><td><span class=\"dot\" style=\"background:{}\"></span>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td{}>{}</td></tr>",
            plot::colour(place),
            escaped(&run.name),
            number(report.fixes_per_s),
            number(report.deliveries_per_s.max(report.map_frames_per_s)),
            quantile(|times| times.p50_ms),
            quantile(|times| times.p99_ms),
            server.map_or("–".into(), |server| number(server.cpu_us_per_fix)),
            server.filter(|_| report.delivered > 0).map_or("–".into(), |server| number(server.cpu_us_per_delivery)),
            beside,
            number(report.bytes_per_delivery.max(report.map_bytes_per_frame)),
            server.map_or("–".into(), |server| number(server.rss_mib)),
            report.lost,
            if trouble > 0 { " class=\"bad\"" } else { "" },
            trouble,
        );
    }
    out.push_str("</tbody></table></div>");
    let ages = runs.iter().any(|run| run.report.age.is_some());
    let maps = runs.iter().any(|run| run.report.map.is_some());
    for (shown, words) in [
        (
            ages,
            "Where there is too much, p50 and p99 tell how old the newest position is that a watcher has; fixes that were left out are not among those sent.",
        ),
        (
            maps,
            "Of maps, deliveries are frames, and p50 and p99 tell how old a marker is when it comes: it waits for its turn first.",
        ),
    ] {
        if shown {
            let _ = write!(out, "<p>{words}</p>");
        }
    }
}

fn storm(out: &mut String, report: &StormReport) {
    let _ = write!(
        out,
        "<div class=\"wide\"><table><tbody><tr><td>couriers cut</td><td>{}</td></tr><tr><td>back</td><td>{}</td></tr><tr><td>half of them after</td><td>{:.1} s</td></tr>\
         <tr><td>the last after</td><td>{:.1} s</td></tr><tr><td>told to come again later</td><td>{}</td></tr>",
        report.drivers, report.back, report.back_p50_s, report.back_last_s, report.put_off
    );
    for (name, times) in [("others before", report.others_before), ("others meanwhile", report.others_during)] {
        if let Some(times) = times {
            let _ = write!(
                out,
                "<tr><td>{name}, p50 and p99</td><td>{} / {} ms</td></tr>",
                number(times.p50_ms),
                number(times.p99_ms)
            );
        }
    }
    let _ = write!(
        out,
        "<tr><td>others' fixes that did not arrive</td><td>{}</td></tr></tbody></table></div>",
        report.others_lost
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_whole_and_says_what_was_seen() {
        let storm = StormReport {
            drivers: 5_000,
            back: 4_999,
            back_p50_s: 12.5,
            back_last_s: 25.25,
            put_off: 7,
            others_before: None,
            others_during: None,
            others_lost: 3,
        };
        let shown = Shown { title: "A <storm>", about: "all at once".into(), runs: Vec::new(), storm: Some(storm) };
        let page = of(&SuiteReport { machine: "a & b".into(), scenarios: vec![shown] });
        for text in ["A &lt;storm&gt;", "a &amp; b", "4999", "12.5 s", "25.2 s", "</html>"] {
            assert!(page.contains(text), "{text}: {page}");
        }
        assert!(!page.contains("http"), "it needs nothing else");
    }
}
