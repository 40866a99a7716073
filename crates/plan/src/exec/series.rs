//! `make-series`: aggregated bins gathered into one row of arrays per key.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Float64Array, Int64Array, StringViewBuilder};
use arrow::datatypes::{DataType, Field, Float64Type, Int32Type, Int64Type, Schema};
use datafusion::common::{exec_err, internal_err};
use datafusion::error::Result;
use datafusion::execution::memory_pool::MemoryReservation;
use datafusion::logical_expr::{ColumnarValue, EmitTo};
use datafusion::physical_plan::aggregates::group_values::{GroupValues, new_group_values};
use datafusion::physical_plan::aggregates::order::GroupOrdering;
use tidewater_functions::dynamic::Cells;
use tidewater_kql::KqlType;

use super::stage::{Input, Output, Scope, Setting, Stage, StageRun};
use crate::bound::{Constant, Value};

/// Points of a series. Source: make-series-operator page.
const MAX_POINTS: usize = 1 << 20;

/// The operator. Arguments: the keys, the bin, the aggregates. Columns: keys, a dynamic per aggregate, the axis.
#[derive(Clone, Debug)]
pub struct Series {
    /// Names and types of the keys' columns.
    pub keys: Vec<(String, KqlType)>,
    /// Name and type of each aggregate's column, and the value of a missing bin.
    pub aggregates: Vec<(String, KqlType, Constant)>,
    /// Name of the axis' column.
    pub axis: String,
    /// Type of the axis.
    pub axis_ty: KqlType,
    /// First point; absent: the smallest bin.
    pub from: Option<Constant>,
    /// Past the last point; absent: past the largest bin.
    pub to: Option<Constant>,
    /// Between points.
    pub step: Constant,
    /// A point at `to` belongs to the series.
    pub is_inclusive: bool,
    /// One series of defaults for no rows.
    pub nonempty: bool,
}

impl Stage for Series {
    fn name(&self) -> &'static str {
        "Series"
    }

    fn settings(&self) -> String {
        format!(
            "{:?} on {}:{} from {:?} to {:?} step {:?} {} {} by {:?}",
            self.aggregates,
            self.axis,
            self.axis_ty,
            self.from,
            self.to,
            self.step,
            self.is_inclusive,
            self.nonempty,
            self.keys
        )
    }

    fn outputs(&self) -> Vec<Field> {
        let keys = self.keys.iter().map(|(name, ty)| ty.field(name));
        let aggregates = self.aggregates.iter().map(|(name, ..)| KqlType::Dynamic.field(name));
        keys.chain(aggregates).chain([KqlType::Dynamic.field(&self.axis)]).collect()
    }

    fn scope(&self) -> Scope {
        Scope::Whole
    }

    fn start(&self, setting: Setting) -> Result<Box<dyn StageRun>> {
        let groups = match self.keys.len() {
            0 => None,
            count => {
                let schema = Arc::new(Schema::new(setting.args[..count].to_vec()));
                Some(new_group_values(schema, &GroupOrdering::None)?)
            }
        };
        Ok(Box::new(Run {
            series: self.clone(),
            groups,
            bins: Vec::new(),
            values: Vec::new(),
            rows: 0,
            batch_rows: setting.batch_rows.max(1),
            memory: setting.memory,
            made: None,
        }))
    }
}

struct Run {
    series: Series,
    groups: Option<Box<dyn GroupValues>>,
    /// Group and bin of every row.
    bins: Vec<(u32, Point)>,
    /// The aggregates of every batch.
    values: Vec<Vec<ArrayRef>>,
    rows: usize,
    batch_rows: usize,
    memory: MemoryReservation,
    made: Option<Made>,
}

/// Everything that is left to do is writing arrays.
struct Made {
    keys: Vec<ArrayRef>,
    /// Per group: batch and row of each point that has one.
    points: Vec<HashMap<u32, (u32, u32)>>,
    cells: Vec<Vec<Cells>>,
    /// Per group: the first point and how many there are.
    extents: Vec<(Point, usize)>,
    longest: usize,
    next: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
enum Point {
    Whole(i64),
    Real(f64),
    None,
}

impl StageRun for Run {
    fn push(&mut self, input: Input) -> Result<()> {
        let keys = self.series.keys.len();
        let mut groups = Vec::new();
        match &mut self.groups {
            Some(values) => values.intern(&input.args[..keys], &mut groups)?,
            None => groups.resize(input.rows, 0),
        }
        let points = points(&input.args[keys])?;
        self.bins.extend(groups.into_iter().map(|group| group as u32).zip(points));
        self.rows += input.rows;
        let values = input.args[keys + 1..].to_vec();
        let bytes: usize = values.iter().map(|array| array.get_array_memory_size()).sum();
        self.memory.try_grow(bytes + input.rows * std::mem::size_of::<(u32, Point)>())?;
        self.values.push(values);
        Ok(())
    }

    fn finish(&mut self) -> Result<()> {
        let groups = match &self.groups {
            Some(values) => values.len(),
            None => usize::from(self.rows > 0 || self.series.nonempty),
        };
        let extents = self.extents(groups)?;
        let longest = extents.iter().map(|(_, count)| *count).max().unwrap_or(0);
        if longest == 0 {
            return Ok(());
        }
        let mut points: Vec<HashMap<u32, (u32, u32)>> = vec![HashMap::new(); groups];
        let mut rows = self.bins.iter();
        for (batch, values) in self.values.iter().enumerate() {
            let length = values.first().map_or(self.bins.len(), |array| array.len());
            for (row, (group, point)) in rows.by_ref().take(length).enumerate() {
                let (first, count) = extents[*group as usize];
                if let Some(position) = self.position(first, *point, count) {
                    points[*group as usize].insert(position, (batch as u32, row as u32));
                }
            }
        }
        let cells = self
            .values
            .iter()
            .map(|batch| {
                let typed = batch.iter().zip(&self.series.aggregates);
                typed.map(|(array, (_, ty, _))| Cells::new(&ColumnarValue::Array(Arc::clone(array)), *ty)).collect()
            })
            .collect::<Result<Vec<Vec<Cells>>>>()?;
        let keys = match &mut self.groups {
            Some(values) => values.emit(EmitTo::All)?,
            None => Vec::new(),
        };
        self.made = Some(Made { keys, points, cells, extents, longest, next: 0 });
        Ok(())
    }

    fn take(&mut self) -> Result<Option<Output>> {
        let Some(made) = &mut self.made else { return Ok(None) };
        // Long series make few rows a batch.
        let each = (self.batch_rows * 16 / made.longest.max(1)).clamp(1, self.batch_rows);
        let end = (made.next + each).min(made.points.len());
        if made.next == end {
            return Ok(None);
        }
        let from = std::mem::replace(&mut made.next, end);
        let mut columns: Vec<ArrayRef> = made.keys.iter().map(|key| key.slice(from, end - from)).collect();
        let mut text = Vec::new();
        for (position, (_, ty, default)) in self.series.aggregates.iter().enumerate() {
            let default = Cells::new(&ColumnarValue::Scalar(default.to_scalar()), *ty)?;
            let mut lists = StringViewBuilder::new();
            for (points, (_, count)) in made.points[from..end].iter().zip(&made.extents[from..end]) {
                text.clear();
                text.push(b'[');
                for point in 0..*count as u32 {
                    if point > 0 {
                        text.push(b',');
                    }
                    match points.get(&point) {
                        Some((batch, row)) => {
                            made.cells[*batch as usize][position].write_or_null(*row as usize, &mut text)
                        }
                        None => default.write_or_null(0, &mut text),
                    }
                }
                text.push(b']');
                lists.append_value(as_text(&text)?);
            }
            columns.push(Arc::new(lists.finish()));
        }
        let mut axis = StringViewBuilder::new();
        let mut known: Option<((Point, usize), Vec<u8>)> = None;
        for (first, count) in &made.extents[from..end] {
            let text = match known.take() {
                Some((extent, text)) if extent == (*first, *count) => text,
                _ => self.series.points(*first, *count)?,
            };
            axis.append_value(as_text(&text)?);
            known = Some(((*first, *count), text));
        }
        columns.push(Arc::new(axis.finish()));
        Ok(Some(Output { columns, rows: end - from }))
    }
}

impl Run {
    /// The first point of each series and how many there are.
    fn extents(&self, groups: usize) -> Result<Vec<(Point, usize)>> {
        let mut ends: Vec<Option<(Point, Point)>> = vec![None; groups];
        for (group, point) in &self.bins {
            if *point == Point::None {
                continue;
            }
            let ends = &mut ends[*group as usize];
            *ends = Some(match *ends {
                None => (*point, *point),
                Some((least, most)) => {
                    (if *point < least { *point } else { least }, if *point > most { *point } else { most })
                }
            });
        }
        ends.into_iter().map(|ends| self.extent(ends)).collect()
    }

    fn extent(&self, ends: Option<(Point, Point)>) -> Result<(Point, usize)> {
        let (least, most) = ends.unzip();
        let (Some(first), Some(last)) =
            (self.series.from.as_ref().map(point).or(least), self.series.to.as_ref().map(point).or(most))
        else {
            return Ok((Point::None, 0));
        };
        // Bins that were not made from `from` on begin at a multiple of the step.
        let first = match (first, point(&self.series.step)) {
            (Point::Whole(first), Point::Whole(step)) if self.series.is_inclusive && step > 0 => {
                Point::Whole(first.saturating_sub(first.rem_euclid(step)))
            }
            (Point::Real(first), Point::Real(step)) if self.series.is_inclusive && step > 0.0 => {
                Point::Real((first / step).floor() * step)
            }
            (first, _) => first,
        };
        let includes_last = self.series.to.is_none() || self.series.is_inclusive;
        let count = match (first, last, point(&self.series.step)) {
            (Point::Whole(first), Point::Whole(last), Point::Whole(step)) if step > 0 => {
                let (distance, step) = (i128::from(last) - i128::from(first), i128::from(step));
                if includes_last { distance.div_euclid(step) + 1 } else { (distance + step - 1).div_euclid(step) }
            }
            (Point::Real(first), Point::Real(last), Point::Real(step)) if step > 0.0 => {
                let steps = (last - first) / step;
                (if includes_last { steps.floor() + 1.0 } else { steps.ceil() }) as i128
            }
            _ => 0,
        };
        if count > MAX_POINTS as i128 {
            return exec_err!("make-series would give {count} points, more than {MAX_POINTS}");
        }
        Ok((first, count.max(0) as usize))
    }

    fn position(&self, first: Point, bin: Point, count: usize) -> Option<u32> {
        let position = match (first, bin, point(&self.series.step)) {
            (Point::Whole(first), Point::Whole(bin), Point::Whole(step)) => {
                (i128::from(bin) - i128::from(first)).div_euclid(i128::from(step))
            }
            (Point::Real(first), Point::Real(bin), Point::Real(step)) => ((bin - first) / step).round() as i128,
            _ => return None,
        };
        u32::try_from(position).ok().filter(|position| (*position as usize) < count)
    }
}

impl Series {
    /// The points of an axis as a JSON array.
    fn points(&self, first: Point, count: usize) -> Result<Vec<u8>> {
        let points: ArrayRef = match (first, point(&self.step)) {
            (Point::Whole(first), Point::Whole(step)) => {
                let values = (0..count as i64).map(|row| first.wrapping_add(row.wrapping_mul(step)));
                Arc::new(Int64Array::from_iter_values(values))
            }
            (Point::Real(first), Point::Real(step)) => {
                Arc::new(Float64Array::from_iter_values((0..count).map(|row| first + row as f64 * step)))
            }
            _ if count == 0 => return Ok(b"[]".to_vec()),
            _ => return internal_err!("a series without an axis"),
        };
        let ty = if self.axis_ty == KqlType::Int { KqlType::Long } else { self.axis_ty };
        let cells = Cells::new(&ColumnarValue::Array(points), ty)?;
        let mut text = vec![b'['];
        for row in 0..count {
            if row > 0 {
                text.push(b',');
            }
            cells.write_or_null(row, &mut text);
        }
        text.push(b']');
        Ok(text)
    }
}

fn point(constant: &Constant) -> Point {
    match &constant.value {
        Value::Int(value) => Point::Whole(i64::from(*value)),
        Value::Long(value) | Value::DateTime(value) | Value::TimeSpan(value) => Point::Whole(*value),
        Value::Real(value) => Point::Real(*value),
        _ => Point::None,
    }
}

fn points(array: &ArrayRef) -> Result<Vec<Point>> {
    let rows = 0..array.len();
    let each = |value: &dyn Fn(usize) -> Point| {
        rows.map(|row| if array.is_valid(row) { value(row) } else { Point::None }).collect::<Vec<_>>()
    };
    Ok(match array.data_type() {
        DataType::Int32 => each(&|row| Point::Whole(i64::from(array.as_primitive::<Int32Type>().value(row)))),
        DataType::Int64 => each(&|row| Point::Whole(array.as_primitive::<Int64Type>().value(row))),
        DataType::Float64 => each(&|row| Point::Real(array.as_primitive::<Float64Type>().value(row))),
        other => return internal_err!("a series on {other}"),
    })
}

fn as_text(bytes: &[u8]) -> Result<&str> {
    match std::str::from_utf8(bytes) {
        Ok(text) => Ok(text),
        Err(_) => internal_err!("JSON was not written as UTF-8"),
    }
}
