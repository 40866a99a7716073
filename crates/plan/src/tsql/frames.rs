//! Frames of OVER that count rows, and windows with names.
//!
//! A frame between two rows is spread out: each row meets those of its frame, which are summed up and joined back. A frame that is
//! open at one end is the value of the running aggregate at its other end, counted from the last row where that is the open one.
//! Source: T-SQL reference, OVER clause and WINDOW clause.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    Expr, NamedWindowExpr, OrderByExpr, Select, Value, VisitMut, VisitorMut, WindowFrame, WindowFrameBound,
    WindowFrameUnits, WindowSpec, WindowType,
};
use tidewater_kql::KqlType;
use tidewater_kql::diagnostic::{GENERAL, UNRESOLVED};

use super::expr::Typed;
use super::windows::{Frame, Layout};
use super::{Result, Translator};

/// The most rows of a frame between two rows.
const MAX_FRAME_ROWS: i64 = 10_000;

impl Translator<'_> {
    /// The rows that a frame's clause names.
    pub(super) fn frame(&self, frame: &WindowFrame) -> Result<Frame> {
        use WindowFrameBound::{CurrentRow, Following, Preceding};
        let end = frame.end_bound.as_ref().unwrap_or(&CurrentRow);
        if frame.units == WindowFrameUnits::Groups {
            return Err(self.not_served("OVER with GROUPS"));
        }
        if matches!(frame.start_bound, Following(None)) || matches!(end, Preceding(None)) {
            return Err(self.syntax("a frame begins with what precedes and ends with what follows"));
        }
        if frame.units == WindowFrameUnits::Range {
            return match (&frame.start_bound, end) {
                (Preceding(None), CurrentRow) => Ok(Frame::Peers),
                (Preceding(None), Following(None)) => Ok(Frame::Whole),
                (CurrentRow, CurrentRow) => Ok(Frame::PeersAlone),
                (CurrentRow, Following(None)) => Ok(Frame::PeersOn),
                // Source: OVER clause: RANGE takes only UNBOUNDED and CURRENT ROW.
                _ => Err(self.syntax("RANGE takes UNBOUNDED and CURRENT ROW only")),
            };
        }
        let offset = |bound: &WindowFrameBound| -> Result<Option<i64>> {
            let (number, sign) = match bound {
                CurrentRow => return Ok(Some(0)),
                Preceding(None) | Following(None) => return Ok(None),
                Preceding(Some(number)) => (number, -1),
                Following(Some(number)) => (number, 1),
            };
            let found = match number.as_ref() {
                Expr::Value(value) => match &value.value {
                    Value::Number(text, _) => text.parse::<i64>().ok().filter(|number| *number <= i64::from(i32::MAX)),
                    _ => None,
                },
                _ => None,
            };
            match found {
                Some(number) => Ok(Some(sign * number)),
                None => Err(self.syntax(format!("a frame counts whole numbers of rows, found '{number}'"))),
            }
        };
        match (offset(&frame.start_bound)?, offset(end)?) {
            (None, None) => Ok(Frame::Whole),
            (None, Some(0)) => Ok(Frame::Rows),
            (Some(start), Some(end)) if start > end => {
                Err(self.syntax("a frame's first row must not stand behind its last"))
            }
            (Some(start), Some(end)) if end - start >= MAX_FRAME_ROWS => {
                Err(self.not_served(format!("a frame of more than {MAX_FRAME_ROWS} rows")))
            }
            (start, end) => Ok(Frame::Between(start, end)),
        }
    }

    /// An aggregate of the rows between two: `text` sums up what `what` says.
    pub(super) fn spread(
        &mut self,
        (what, text): (&str, &str),
        (start, end): (i64, i64),
        layout: &Layout,
        steps: &mut Vec<String>,
    ) -> String {
        let Layout { partition, number, .. } = layout;
        let rows = self.made_up("rows");
        let (part, row, place) = (self.made_up("part"), self.made_up("row"), self.made_up("place"));
        let column = self.made_up("frame");
        steps.push(format!("as {rows}"));
        steps.push(format!(
            "join kind=leftouter ({rows} | project {part}={partition}, {row}={number}, \
             {place}=range({number} + ({start}), {number} + ({end}), 1) | mv-expand {place} to typeof(long) | \
             join kind=inner ({rows}) on $left.{part} == $right.{partition}, $left.{place} == $right.{number} | \
             summarize {column}={text} by {part}, {row}) on $left.{partition} == $right.{part}, \
             $left.{number} == $right.{row}"
        ));
        steps.push(format!("project-away {part}, {row}"));
        self.counted_or_null(what, column, steps)
    }

    /// The value of a column at another row of the partition; null where there is none.
    pub(super) fn looked_up(&mut self, column: &str, place: &str, layout: &Layout, steps: &mut Vec<String>) -> String {
        let Layout { partition, number, .. } = layout;
        let rows = self.made_up("rows");
        let (part, row, wanted) = (self.made_up("part"), self.made_up("row"), self.made_up("place"));
        let found = self.made_up("found");
        steps.push(format!("extend {wanted}={place}"));
        steps.push(format!("as {rows}"));
        steps.push(format!(
            "join kind=leftouter ({rows} | project {part}={partition}, {row}={number}, {found}={column}) on \
             $left.{partition} == $right.{part}, $left.{wanted} == $right.{row}"
        ));
        steps.push(format!("project-away {part}, {row}, {wanted}"));
        found
    }

    /// Counts of nothing are zero, all else of nothing is null.
    pub(super) fn counted_or_null(&mut self, what: &str, column: String, steps: &mut Vec<String>) -> String {
        if !matches!(what, "COUNT" | "COUNT_BIG" | "APPROX_COUNT_DISTINCT") {
            return column;
        }
        let counted = self.made_up("count");
        steps.push(format!("extend {counted}=coalesce({column}, 0)"));
        counted
    }

    /// How many rows a partition has.
    pub(super) fn partition_rows(&mut self, layout: &Layout, steps: &mut Vec<String>) -> String {
        self.beside(steps, &[&layout.partition], |column| format!("{column} = count()"))
    }

    /// The same rows counted from the last one.
    pub(super) fn reversed(&mut self, layout: &Layout, steps: &mut Vec<String>) -> Layout {
        let Layout { partition, number, peers } = layout;
        let back = self.made_up("number");
        steps.push(format!("sort by {partition} asc, {number} desc"));
        steps.push(format!("extend {back} = row_number(1, {partition} != prev({partition}))"));
        Layout { partition: partition.clone(), number: back, peers: peers.clone() }
    }

    /// FIRST_VALUE and LAST_VALUE of a frame that counts rows.
    pub(super) fn edge_between(
        &mut self,
        what: &str,
        (start, end): (Option<i64>, Option<i64>),
        column: &str,
        layout: &Layout,
        steps: &mut Vec<String>,
    ) -> String {
        let count = self.partition_rows(layout, steps);
        let number = &layout.number;
        let first = start.map_or("1".to_string(), |start| format!("max_of({number} + ({start}), 1)"));
        let last = end.map_or(count.clone(), |end| format!("min_of({number} + ({end}), {count})"));
        let place = if what == "FIRST_VALUE" { &first } else { &last };
        let place = format!("iff({first} <= {last}, {place}, long(-1))");
        self.looked_up(column, &place, layout, steps)
    }

    /// The statement with each named window where it is used.
    pub(super) fn without_named_windows(
        &self,
        select: &Select,
        order_by: &[OrderByExpr],
    ) -> Result<(Select, Vec<OrderByExpr>)> {
        let mut own = select.clone();
        let mut order_by = order_by.to_vec();
        let named = std::mem::take(&mut own.named_window);
        let mut known: Vec<(String, WindowSpec)> = Vec::new();
        let mut waiting: Vec<_> = named.iter().collect();
        // A window may build on one that is named behind it.
        while !waiting.is_empty() {
            let before = waiting.len();
            let mut unknown = None;
            waiting.retain(|definition| {
                let spec = match &definition.1 {
                    NamedWindowExpr::NamedWindow(base) => WindowSpec {
                        window_name: Some(base.clone()),
                        partition_by: Vec::new(),
                        order_by: Vec::new(),
                        window_frame: None,
                    },
                    NamedWindowExpr::WindowSpec(spec) => spec.clone(),
                };
                match whole(spec, &known) {
                    Ok(spec) => {
                        known.push((definition.0.value.clone(), spec));
                        false
                    }
                    Err(name) => {
                        unknown = Some(name);
                        true
                    }
                }
            });
            if waiting.len() == before {
                let name = unknown.unwrap_or_else(|| waiting[0].0.clone());
                return Err(self.mistake(UNRESOLVED, name.span, format!("the window '{}' is not known", name.value)));
            }
        }
        for (at, (name, _)) in known.iter().enumerate() {
            if known[..at].iter().any(|(other, _)| other.eq_ignore_ascii_case(name)) {
                return Err(self.mistake(
                    GENERAL,
                    waiting_span(&named, name),
                    format!("two windows are called '{name}'"),
                ));
            }
        }
        let mut fill = Fill { known: &known };
        let mut result = VisitMut::visit(&mut own, &mut fill);
        for order in &mut order_by {
            if result.is_continue() {
                result = VisitMut::visit(&mut order.expr, &mut fill);
            }
        }
        match result {
            ControlFlow::Continue(()) => Ok((own, order_by)),
            ControlFlow::Break(name) => {
                Err(self.mistake(UNRESOLVED, name.span, format!("the window '{}' is not known", name.value)))
            }
        }
    }

    /// A running aggregate of a frame that is open at one end.
    pub(super) fn open_frame(
        &mut self,
        what: &str,
        (start, end): (Option<i64>, Option<i64>),
        layout: &Layout,
        steps: &mut Vec<String>,
        running: impl FnOnce(&mut Self, &Layout, &mut Vec<String>) -> Result<String>,
    ) -> Result<String> {
        let (layout, end) = match (start, end) {
            (Some(start), _) => (self.reversed(layout, steps), -start),
            (None, end) => (
                Layout {
                    partition: layout.partition.clone(),
                    number: layout.number.clone(),
                    peers: layout.peers.clone(),
                },
                end.unwrap_or(0),
            ),
        };
        let column = running(self, &layout, steps)?;
        if end == 0 {
            return Ok(column);
        }
        let count = self.partition_rows(&layout, steps);
        let place = format!("min_of({} + ({end}), {count})", layout.number);
        let found = self.looked_up(&column, &place, &layout, steps);
        Ok(self.counted_or_null(what, found, steps))
    }
}

fn waiting_span(
    named: &[datafusion::sql::sqlparser::ast::NamedWindowDefinition],
    wanted: &str,
) -> datafusion::sql::sqlparser::tokenizer::Span {
    let found = named.iter().rev().find(|definition| definition.0.value.eq_ignore_ascii_case(wanted));
    found.map_or(datafusion::sql::sqlparser::tokenizer::Span::empty(), |definition| definition.0.span)
}

type Ident = datafusion::sql::sqlparser::ast::Ident;

/// The specification together with the window that it builds on.
fn whole(mut spec: WindowSpec, known: &[(String, WindowSpec)]) -> std::result::Result<WindowSpec, Ident> {
    let Some(name) = spec.window_name.take() else { return Ok(spec) };
    let Some((_, base)) = known.iter().find(|(own, _)| own.eq_ignore_ascii_case(&name.value)) else {
        return Err(name);
    };
    if spec.partition_by.is_empty() {
        spec.partition_by.clone_from(&base.partition_by);
    }
    if spec.order_by.is_empty() {
        spec.order_by.clone_from(&base.order_by);
    }
    if spec.window_frame.is_none() {
        spec.window_frame.clone_from(&base.window_frame);
    }
    Ok(spec)
}

struct Fill<'a> {
    known: &'a [(String, WindowSpec)],
}

impl VisitorMut for Fill<'_> {
    type Break = Ident;

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<Ident> {
        if let Expr::Function(call) = expr {
            let spec = match &call.over {
                Some(WindowType::NamedWindow(name)) => WindowSpec {
                    window_name: Some(name.clone()),
                    partition_by: Vec::new(),
                    order_by: Vec::new(),
                    window_frame: None,
                },
                Some(WindowType::WindowSpec(spec)) if spec.window_name.is_some() => spec.clone(),
                _ => return ControlFlow::Continue(()),
            };
            match whole(spec, self.known) {
                Ok(spec) => call.over = Some(WindowType::WindowSpec(spec)),
                Err(name) => return ControlFlow::Break(name),
            }
        }
        ControlFlow::Continue(())
    }
}

/// The column of a value, which takes a step where it is none yet.
pub(super) fn valued(
    translator: &mut Translator<'_>,
    value: &Typed,
    steps: &mut Vec<String>,
) -> (String, Option<KqlType>) {
    let column = translator.made_up("value");
    steps.push(format!("extend {column} = {}", value.text));
    (column, value.ty)
}
