//! `trace,t,lat,lon,taxi`: one point a line, `t` in Unix seconds. The order of the columns is free, `taxi` may be missing.

use std::collections::HashMap;

use super::{Point, Trace};

/// Line and reason of a failure.
pub(super) fn parse(text: &str) -> Result<Vec<Trace>, (u64, String)> {
    let mut lines = text.lines().enumerate();
    let header: Vec<&str> = match lines.next() {
        Some((_, line)) => line.trim().split(',').map(str::trim).collect(),
        None => return Err((1, "the file is empty".into())),
    };
    let column = |name: &str| header.iter().position(|column| *column == name);
    let need = |name: &str| column(name).ok_or_else(|| (1, format!("there is no column {name:?}")));
    let (trace, t, lat, lon) = (need("trace")?, need("t")?, need("lat")?, need("lon")?);
    let taxi = column("taxi");
    let mut traces: Vec<Trace> = Vec::new();
    let mut places: HashMap<&str, usize> = HashMap::new();
    for (index, line) in lines.filter(|(_, line)| !line.trim().is_empty()) {
        let at = index as u64 + 1;
        let fields: Vec<&str> = line.split(',').map(str::trim).collect();
        let text = |place: usize| fields.get(place).copied().unwrap_or_default();
        let number = |place: usize| {
            let value: Option<f64> = text(place).parse().ok();
            let value = value.filter(|value| value.is_finite());
            value.ok_or_else(|| (at, format!("{:?} is no number", text(place))))
        };
        let point = Point { t_ms: (number(t)? * 1000.0).round() as i64, lat: number(lat)?, lon: number(lon)? };
        let name = text(trace);
        let place = *places.entry(name).or_insert_with(|| {
            traces.push(Trace {
                name: name.to_owned(),
                taxi: taxi.map(|taxi| text(taxi).to_owned()),
                points: Vec::new(),
            });
            traces.len() - 1
        });
        traces[place].points.push(point);
    }
    Ok(traces)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_become_traces() {
        let text = "trace,t,lat,lon,taxi\n7,1372636858,41.1,-8.6,200\n8,1,2,3,201\n\n7,1372636873.5,41.2,-8.7,200\n";
        let traces = parse(text).unwrap();
        assert_eq!(traces.len(), 2);
        assert_eq!((traces[0].name.as_str(), traces[0].taxi.as_deref()), ("7", Some("200")));
        let second = Point { t_ms: 1_372_636_873_500, lat: 41.2, lon: -8.7 };
        assert_eq!(traces[0].points[1], second);
    }

    #[test]
    fn what_is_wrong_is_named_with_its_line() {
        assert_eq!(parse("trace,t,lat\n"), Err((1, "there is no column \"lon\"".into())));
        let broken = parse("trace,t,lat,lon\n1,2,3,4\n1,2,x,4\n");
        assert_eq!(broken, Err((3, "\"x\" is no number".into())));
        assert!(parse("").is_err());
    }
}
