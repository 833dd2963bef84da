//! GPX 1.0 and 1.1: each track is a trace; points without a time are left out.

use quick_xml::Reader;
use quick_xml::events::{BytesStart, Event};

use super::{Point, Trace, iso_time};

/// Byte and reason of a failure.
pub(super) fn parse(text: &str) -> Result<Vec<Trace>, (u64, String)> {
    let mut reader = Reader::from_str(text);
    let mut gpx = Gpx::default();
    loop {
        let event = reader.read_event();
        let at = reader.buffer_position();
        match event.map_err(|error| (at, error.to_string()))? {
            Event::Start(tag) => gpx.open(&tag).map_err(|why| (at, why))?,
            Event::Text(text) => {
                let text = text.decode().map_err(|error| (at, error.to_string()))?;
                gpx.text(&text).map_err(|why| (at, why))?;
            }
            Event::End(tag) => gpx.close(tag.local_name().as_ref()),
            Event::Eof => break,
            _ => {}
        }
    }
    if !gpx.is_gpx {
        return Err((0, "there is no gpx element".into()));
    }
    Ok(gpx.traces)
}

/// What has been read so far.
#[derive(Default)]
struct Gpx {
    is_gpx: bool,
    traces: Vec<Trace>,
    /// The point being read: where, and when if that is known.
    place: Option<(f64, f64)>,
    t_ms: Option<i64>,
    /// The element whose text is being read.
    inside: Vec<u8>,
}

impl Gpx {
    fn open(&mut self, tag: &BytesStart<'_>) -> Result<(), String> {
        let name = tag.local_name();
        match name.as_ref() {
            b"gpx" => self.is_gpx = true,
            b"trk" => self.traces.push(Trace {
                name: format!("track {}", self.traces.len() + 1),
                taxi: None,
                points: Vec::new(),
            }),
            b"trkpt" => {
                self.place = Some((degrees(tag, "lat")?, degrees(tag, "lon")?));
                self.t_ms = None;
            }
            _ => {}
        }
        self.inside = name.as_ref().to_vec();
        Ok(())
    }

    fn text(&mut self, text: &str) -> Result<(), String> {
        if self.place.is_some() && self.inside == b"time" {
            let t_ms = iso_time::parse(text.trim());
            self.t_ms = Some(t_ms.ok_or_else(|| format!("{text:?} is no time"))?);
        }
        if self.place.is_none() && self.inside == b"name" {
            let unnamed = |trace: &&mut Trace| trace.points.is_empty();
            if let Some(trace) = self.traces.last_mut().filter(unnamed) {
                text.trim().clone_into(&mut trace.name);
            }
        }
        Ok(())
    }

    fn close(&mut self, name: &[u8]) {
        self.inside.clear();
        if name != b"trkpt" {
            return;
        }
        let (place, t_ms) = (self.place.take(), self.t_ms.take());
        if let (Some((lat, lon)), Some(t_ms), Some(trace)) = (place, t_ms, self.traces.last_mut()) {
            trace.points.push(Point { t_ms, lat, lon });
        }
    }
}

fn degrees(tag: &BytesStart<'_>, name: &str) -> Result<f64, String> {
    let attribute = tag.try_get_attribute(name).map_err(|error| error.to_string())?;
    let attribute = attribute.ok_or_else(|| format!("a trkpt without {name}"))?;
    let text = String::from_utf8_lossy(&attribute.value).into_owned();
    let value: Option<f64> = text.trim().parse().ok();
    value.filter(|value| value.is_finite()).ok_or_else(|| format!("{name} {text:?} is no number"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tracks_become_traces() {
        let text = r#"<?xml version="1.0"?><gpx xmlns="http://www.topografix.com/GPX/1/1">
            <metadata><name>all</name><time>2020-01-01T00:00:00Z</time></metadata>
            <trk><name> Morning </name><trkseg>
              <trkpt lat="41.1" lon="-8.6"><ele>3</ele><time>2013-07-01T00:00:58Z</time></trkpt>
              <trkpt lat="41.2" lon="-8.7"><name>x</name></trkpt></trkseg><trkseg>
              <trkpt lat="41.3" lon="-8.8"><time>2013-07-01T02:01:13.5+02:00</time></trkpt>
            </trkseg></trk><trk><trkseg/></trk></gpx>"#;
        let traces = parse(text).unwrap();
        assert_eq!(traces.len(), 2);
        assert_eq!((traces[0].name.as_str(), traces[1].name.as_str()), ("Morning", "track 2"));
        let times: Vec<i64> = traces[0].points.iter().map(|point| point.t_ms).collect();
        assert_eq!(times, [1_372_636_858_000, 1_372_636_873_500]);
        assert_eq!((traces[0].points[1].lat, traces[0].points[1].lon), (41.3, -8.8));
    }

    #[test]
    fn what_is_no_gpx_is_refused() {
        for text in
            ["", "hello", "<html/>", "<gpx><trk></gpx>", "<gpx><trk><trkpt lat='x' lon='1'></trkpt></trk></gpx>"]
        {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
