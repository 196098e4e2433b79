//! A plot of a table: a row each, from the median (a dot) to p99 (the end of its line), on a logarithmic scale.

use super::figure;
use super::table::{Row, Table};
use crate::competitor::Name;
use crate::work::Unit;
use anyhow::{Result, anyhow};
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

const WIDTH: u32 = 960;
const LABEL_WIDTH: i32 = 400;
const VALUE_WIDTH: i32 = 100;
const ROW_HEIGHT: i32 = 20;
const GROUP_GAP: i32 = 12;
const TOP: i32 = 40;
const BOTTOM: i32 = 16;

/// The plot as SVG.
pub(crate) fn draw(table: &Table) -> Result<String> {
    let groups = table
        .rows
        .windows(2)
        .filter(|pair| pair[0].work != pair[1].work)
        .count();
    let rows = i32::try_from(table.rows.len())?;
    let height = TOP + rows * ROW_HEIGHT + i32::try_from(groups)? * GROUP_GAP + BOTTOM;
    let mut svg = String::new();
    let area = SVGBackend::with_string(&mut svg, (WIDTH, u32::try_from(height)?));
    paint(&area.into_drawing_area(), table, height).map_err(|error| anyhow!("{error}"))?;
    Ok(svg)
}

type Area<'a> = DrawingArea<SVGBackend<'a>, plotters::coord::Shift>;
type Painted = Result<(), Box<dyn std::error::Error>>;

fn paint(area: &Area<'_>, table: &Table, height: i32) -> Painted {
    area.fill(&WHITE)?;
    let axis = Axis::of(table);
    let label = ("sans-serif", 15).into_font().color(&BLACK);
    let mark = ("sans-serif", 14)
        .into_font()
        .color(&RGBColor(110, 110, 110));
    let title = match table.moves_bytes {
        true => format!("{} (MB/s, logarithmic; more is better)", table.title),
        false => format!("{} (logarithmic; less is better)", table.title),
    };
    area.draw(&Text::new(
        title,
        (8, 6),
        ("sans-serif", 16).into_font().color(&BLACK),
    ))?;
    for power in axis.low..=axis.high {
        let value = 10_f64.powi(power);
        let x = axis.place(value);
        let line = vec![(x, TOP - 4), (x, height - BOTTOM)];
        area.draw(&PathElement::new(line, RGBColor(225, 225, 225)))?;
        let centred = mark.clone().pos(Pos::new(HPos::Center, VPos::Bottom));
        area.draw(&Text::new(axis.shown(value), (x, TOP - 5), centred))?;
    }
    let mut y = TOP + ROW_HEIGHT / 2;
    let mut before: Option<&Row> = None;
    for row in &table.rows {
        let is_first = before.is_none_or(|before| before.work != row.work);
        if is_first && before.is_some() {
            y += GROUP_GAP;
        }
        if is_first {
            let work = row.work.replace('`', "");
            let left = label.clone().pos(Pos::new(HPos::Left, VPos::Center));
            area.draw(&Text::new(work, (8, y), left))?;
        }
        let right = mark.clone().pos(Pos::new(HPos::Right, VPos::Center));
        area.draw(&Text::new(row.name.title(), (LABEL_WIDTH - 8, y), right))?;
        let (middle, end) = axis.values(row);
        let colour = colour(row.name);
        let (from, to) = (axis.place(middle), axis.place(end));
        area.draw(&PathElement::new(
            vec![(from, y), (to, y)],
            colour.stroke_width(2),
        ))?;
        area.draw(&Circle::new((from, y), 5, colour.filled()))?;
        let left = label.clone().pos(Pos::new(HPos::Left, VPos::Center));
        area.draw(&Text::new(axis.shown(middle), (from.max(to) + 9, y), left))?;
        y += ROW_HEIGHT;
        before = Some(row);
    }
    area.present()?;
    Ok(())
}

fn colour(name: Name) -> RGBColor {
    match name {
        Name::Floor => RGBColor(120, 120, 120),
        Name::Ours => RGBColor(0, 114, 178),
        Name::Python => RGBColor(230, 159, 0),
        Name::OpenSsh => RGBColor(0, 158, 115),
        Name::Dropbear => RGBColor(204, 121, 167),
    }
}

/// Powers of ten that hold every value.
struct Axis {
    low: i32,
    high: i32,
    unit: Unit,
    is_rate: bool,
}

impl Axis {
    fn of(table: &Table) -> Self {
        let mut axis = Self {
            low: 0,
            high: 1,
            unit: table.unit,
            is_rate: table.moves_bytes,
        };
        let values: Vec<f64> = table
            .rows
            .iter()
            .map(|row| axis.values(row))
            .flat_map(|(middle, end)| [middle, end])
            .map(f64::log10)
            .collect();
        axis.low = values.iter().copied().fold(f64::INFINITY, f64::min).floor() as i32;
        axis.high = values
            .iter()
            .copied()
            .fold(f64::NEG_INFINITY, f64::max)
            .ceil() as i32;
        axis.high = axis.high.max(axis.low + 1);
        axis
    }

    /// A row's median and p99, as they are plotted.
    fn values(&self, row: &Row) -> (f64, f64) {
        let of = |sample: u64| match row.bytes.filter(|_| self.is_rate) {
            Some(bytes) => figure::rate(bytes, sample),
            None => sample.max(1) as f64,
        };
        (of(row.median), of(row.p99))
    }

    fn place(&self, value: f64) -> i32 {
        let width = f64::from(WIDTH as i32 - LABEL_WIDTH - VALUE_WIDTH);
        let share = (value.log10() - f64::from(self.low)) / f64::from(self.high - self.low);
        LABEL_WIDTH + (share * width).round() as i32
    }

    fn shown(&self, value: f64) -> String {
        match self.is_rate {
            true => figure::three_digits(value),
            false => figure::sample(self.unit, value.round() as u64),
        }
    }
}
