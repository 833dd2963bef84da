//! Which part of a picture is shown, and where that part lies before the picture is turned upright.

use image::metadata::Orientation;
use serde::{Deserialize, Serialize};

/// The shape of the variants.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Preset {
    /// 5:4, as menus of large marketplaces show dishes.
    #[serde(rename = "5:4")]
    FiveFour,
    /// 4:3.
    #[default]
    #[serde(rename = "4:3")]
    FourThree,
    /// 1:1.
    #[serde(rename = "1:1")]
    Square,
    /// As it is.
    #[serde(rename = "none")]
    Whole,
}

impl Preset {
    /// The preset with this name.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::FiveFour, Self::FourThree, Self::Square, Self::Whole].into_iter().find(|preset| preset.as_str() == text)
    }

    /// Its name on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::FiveFour => "5:4",
            Self::FourThree => "4:3",
            Self::Square => "1:1",
            Self::Whole => "none",
        }
    }

    /// Width and height that stand in this relation.
    const fn ratio(self) -> Option<(u32, u32)> {
        match self {
            Self::FiveFour => Some((5, 4)),
            Self::FourThree => Some((4, 3)),
            Self::Square => Some((1, 1)),
            Self::Whole => None,
        }
    }
}

/// The point that must be seen, as fractions of width and height of the upright picture, each 0 to 1. The middle by default.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Focus {
    /// From the left.
    pub x: f32,
    /// From the top.
    pub y: f32,
}

impl Default for Focus {
    fn default() -> Self {
        Self { x: 0.5, y: 0.5 }
    }
}

/// A part of a picture, as fractions of its width and height.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Part {
    pub left: f64,
    pub top: f64,
    pub width: f64,
    pub height: f64,
}

/// The largest part of an upright picture that has the preset's shape, as near to the focus as the edges allow; and its width in pixels.
pub fn part(width: u32, height: u32, preset: Preset, focus: Focus) -> (Part, u32) {
    let (full_w, full_h) = (f64::from(width), f64::from(height));
    let (part_w, part_h) = match preset.ratio() {
        None => (full_w, full_h),
        Some((across, down)) => {
            let ratio = f64::from(across) / f64::from(down);
            if full_w > full_h * ratio { (full_h * ratio, full_h) } else { (full_w, full_w / ratio) }
        }
    };
    let place = |focus: f32, full: f64, part: f64| {
        let focus = f64::from(focus).clamp(0.0, 1.0);
        (focus * full - part / 2.0).clamp(0.0, full - part) / full
    };
    let left = place(focus.x, full_w, part_w);
    let top = place(focus.y, full_h, part_h);
    (Part { left, top, width: part_w / full_w, height: part_h / full_h }, (part_w.round() as u32).max(1))
}

/// Height of a variant of this width. `upright` is the whole picture's size.
pub fn height_of(width: u32, preset: Preset, upright: (u32, u32)) -> u32 {
    let (across, down) = preset.ratio().unwrap_or(upright);
    let height = (u64::from(width) * u64::from(down) + u64::from(across) / 2) / u64::from(across);
    height.clamp(1, u64::from(u32::MAX)) as u32
}

impl Part {
    /// The same part of the picture as it is stored.
    pub fn before(self, orientation: Orientation) -> Self {
        let corners = [(self.left, self.top), (self.left + self.width, self.top + self.height)];
        let [(x0, y0), (x1, y1)] = corners.map(|(x, y)| match orientation.to_exif() {
            2 => (1.0 - x, y),
            3 => (1.0 - x, 1.0 - y),
            4 => (x, 1.0 - y),
            5 => (y, x),
            6 => (y, 1.0 - x),
            7 => (1.0 - y, 1.0 - x),
            8 => (1.0 - y, x),
            _ => (x, y),
        });
        Self { left: x0.min(x1), top: y0.min(y1), width: (x1 - x0).abs(), height: (y1 - y0).abs() }
    }
}

/// The widths that are made: the wanted ones that need no enlarging, and the part's own width where it lies noticeably between or below them.
pub fn widths(wanted: &[u32], part_px: u32) -> Vec<u32> {
    let mut widths: Vec<u32> = wanted.iter().copied().filter(|width| *width <= part_px && *width > 0).collect();
    widths.sort_unstable();
    widths.dedup();
    let largest = wanted.iter().copied().max().unwrap_or(part_px);
    let nearly = widths.last().is_some_and(|last| f64::from(part_px) < f64::from(*last) * 1.1);
    if part_px < largest && !nearly {
        widths.push(part_px);
    }
    widths
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_focus_stays_inside_and_the_part_has_its_shape() {
        let (middle, px) = part(4000, 3000, Preset::Square, Focus::default());
        assert_eq!((middle.left, middle.width, px), (0.125, 0.75, 3000));
        let (right, _) = part(4000, 3000, Preset::Square, Focus { x: 1.0, y: 0.0 });
        assert_eq!((right.left, right.top), (0.25, 0.0));
        let (nan, _) = part(4000, 3000, Preset::FiveFour, Focus { x: f32::NAN, y: 2.0 });
        assert!(nan.width > 0.9);
        assert_eq!(height_of(1280, Preset::FiveFour, (1, 1)), 1024);
        assert_eq!(height_of(320, Preset::Whole, (4032, 3024)), 240);
    }

    #[test]
    fn nothing_is_enlarged() {
        let wanted = [320, 640, 1280];
        assert_eq!(widths(&wanted, 4000), [320, 640, 1280]);
        assert_eq!(widths(&wanted, 1280), [320, 640, 1280]);
        assert_eq!(widths(&wanted, 900), [320, 640, 900]);
        assert_eq!(widths(&wanted, 650), [320, 640]);
        assert_eq!(widths(&wanted, 80), [80]);
    }
}
