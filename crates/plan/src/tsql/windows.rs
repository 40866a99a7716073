//! Calls with OVER: each becomes steps behind WHERE and GROUP BY that give its values as a column.
//!
//! Ranks, neighbours and running aggregates sort the rows and count along them. What looks at a whole partition, or at all rows that
//! rank alike, is summed up beside the rows and joined to them. Source: T-SQL reference, OVER clause.

use datafusion::sql::sqlparser::ast::{
    Expr, Function, FunctionArg, FunctionArgExpr, FunctionArguments, OrderByExpr, Query, Select, Visit, Visitor,
    WindowSpec, WindowType,
};
use std::ops::ControlFlow;
use tidewater_kql::KqlType;

use super::expr::{Groups, Literal, Names, Typed, conversion};
use super::query::{Order, ScopeColumn, item_expr};
use super::{Result, Translator, functions};

/// Qualifies the columns that window calls have become; no alias can be called so.
pub(super) const WINDOW: &str = "\0window";

/// The rows that an aggregate sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Frame {
    /// All of the partition.
    Whole,
    /// Those up to this one.
    Rows,
    /// Those up to this one and those that rank alike.
    Peers,
    /// Those that rank alike.
    PeersAlone,
    /// Those that rank alike and all behind them.
    PeersOn,
    /// From so many rows behind this one to so many; negative numbers stand before it, none is the partition's end.
    Between(Option<i64>, Option<i64>),
}

/// How one call's rows are laid out.
pub(super) struct Layout {
    /// The column that tells partitions apart.
    pub partition: String,
    /// The column with the row's number in its partition.
    pub number: String,
    /// The column that tells apart what does not rank alike.
    pub peers: String,
}

impl Translator<'_> {
    /// The steps of all calls with OVER in a SELECT, and the columns that they become.
    pub(super) fn windows<'q>(
        &mut self,
        select: &Select,
        order_by: &[OrderByExpr],
        scope: &[ScopeColumn],
        groups: &mut Option<Groups<'q>>,
    ) -> Result<(Vec<String>, Vec<ScopeColumn>)> {
        let items = select.projection.iter().filter_map(item_expr);
        let calls = calls_in(items.chain(order_by.iter().map(|order| &order.expr)));
        let (mut steps, mut columns) = (Vec::new(), Vec::new());
        for call in calls {
            let spec = match &call.over {
                Some(WindowType::WindowSpec(spec)) if spec.window_name.is_none() => spec,
                _ => return Err(self.syntax(format!("the window of '{call}' is not known"))),
            };
            if let Some(groups) = groups {
                groups.preferred = None;
            }
            let mut names = Names { scope, groups: groups.as_mut() };
            let value = self.over(&call, spec, &mut steps, &mut names)?;
            let column = self.made_up("window");
            steps.push(format!("extend {column} = {}", value.text));
            let qualifiers = vec![WINDOW.to_string()];
            columns.push(ScopeColumn { qualifiers, name: call.to_string(), column, ty: value.ty });
        }
        Ok((steps, columns))
    }

    /// The value of a call behind the steps that it adds.
    fn over(
        &mut self,
        call: &Function,
        spec: &WindowSpec,
        steps: &mut Vec<String>,
        names: &mut Names<'_, '_>,
    ) -> Result<Typed> {
        let what = call.name.to_string().to_uppercase();
        if call.null_treatment.is_some() || call.filter.is_some() {
            return Err(self.not_served("FILTER and IGNORE NULLS"));
        }
        let is_aggregate = functions::is_aggregate(call);
        let has_frame = is_aggregate || matches!(what.as_str(), "FIRST_VALUE" | "LAST_VALUE");
        let frame = match &spec.window_frame {
            Some(_) if !has_frame => return Err(self.not_served(format!("a frame of rows for {what}"))),
            Some(frame) => self.frame(frame)?,
            None if spec.order_by.is_empty() => Frame::Whole,
            None => Frame::Peers,
        };
        let (arguments, is_all) = self.window_arguments(&what, call, names)?;
        let layout = self.laid_out(spec, steps, names)?;
        if is_aggregate {
            return self.aggregate_over(&what, arguments, is_all, frame, &layout, steps);
        }
        if spec.order_by.is_empty() && what != "ROW_NUMBER" {
            return Err(self.syntax(format!("{what} needs ORDER BY in its OVER")));
        }
        match (what.as_str(), arguments.as_slice()) {
            ("LAG" | "LEAD", [value, rest @ ..]) if rest.len() <= 2 => {
                self.neighbour(&what, value, rest, &layout, steps)
            }
            ("FIRST_VALUE" | "LAST_VALUE", [value]) => Ok(self.edge(&what, value, frame, &layout, steps)),
            (_, arguments) => self.rank(&what, arguments, &layout, steps),
        }
    }

    fn rank(&mut self, what: &str, arguments: &[Typed], layout: &Layout, steps: &mut Vec<String>) -> Result<Typed> {
        let Layout { partition, number, peers } = layout;
        let count = |this: &mut Self, steps: &mut Vec<String>| {
            this.beside(steps, &[partition], |column| format!("{column} = count()"))
        };
        let (text, ty) = match (what, arguments) {
            ("ROW_NUMBER", []) => return Ok(Typed::column(number, Some(KqlType::Long))),
            ("RANK", []) => (format!("row_rank_min({peers}, {number} == 1)"), KqlType::Long),
            ("DENSE_RANK", []) => (format!("row_rank_dense({peers}, {number} == 1)"), KqlType::Long),
            ("NTILE", [tiles]) => {
                let tiles = match &tiles.literal {
                    Literal::Number(text) if text.parse::<u32>().is_ok_and(|tiles| tiles > 0) => text,
                    _ => return Err(self.not_served("NTILE of other than a whole number above zero")),
                };
                let count = count(self, steps);
                // The first tiles are one row larger when the rows do not divide evenly.
                let (least, more) = (format!("({count} / {tiles})"), format!("({count} % {tiles})"));
                let large = format!("({number} - 1) / ({least} + 1) + 1");
                let small = format!("{more} + ({number} - 1 - {more} * ({least} + 1)) / max_of({least}, 1) + 1");
                (format!("iff({number} <= {more} * ({least} + 1), {large}, {small})"), KqlType::Long)
            }
            ("PERCENT_RANK", []) => {
                let rank = self.made_up("rank");
                steps.push(format!("extend {rank} = row_rank_min({peers}, {number} == 1)"));
                let count = count(self, steps);
                (format!("iff({count} == 1, 0.0, todouble({rank} - 1) / ({count} - 1))"), KqlType::Real)
            }
            ("CUME_DIST", []) => {
                let count = count(self, steps);
                let last = self.beside(steps, &[partition, peers], |column| format!("{column} = max({number})"));
                (format!("todouble({last}) / {count}"), KqlType::Real)
            }
            _ => return Err(self.not_served(format!("{what} ... OVER"))),
        };
        Ok(Typed::atom(text, ty))
    }

    /// LAG and LEAD.
    fn neighbour(
        &mut self,
        what: &str,
        value: &Typed,
        rest: &[Typed],
        layout: &Layout,
        steps: &mut Vec<String>,
    ) -> Result<Typed> {
        let Layout { partition, number, .. } = layout;
        let offset = match rest.first().map(|offset| &offset.literal) {
            None => "1",
            Some(Literal::Number(text)) if text.parse::<u32>().is_ok() => text,
            Some(_) => return Err(self.not_served(format!("{what} with an offset that is no whole number"))),
        };
        let Some(ty) = value.ty else {
            return Err(self.not_served(format!("{what} of a value whose type is not known")));
        };
        let (column, otherwise) = (self.made_up("value"), self.made_up("otherwise"));
        let default = match rest.get(1) {
            Some(default) if !default.is_null() => format!("{}({})", conversion(ty), default.text),
            _ if ty == KqlType::String => "''".to_string(),
            _ => format!("{ty}(null)"),
        };
        steps.push(format!("extend {column} = {}, {otherwise} = {default}", value.text));
        let (there, is_there) = match what {
            "LAG" => (format!("prev({column}, {offset})"), format!("{number} > {offset}")),
            // Behind the last row stands an empty text, which is no partition.
            _ => (format!("next({column}, {offset})"), format!("next({partition}, {offset}) == {partition}")),
        };
        Ok(Typed::atom(format!("iff({is_there}, {there}, {otherwise})"), ty))
    }

    /// FIRST_VALUE and LAST_VALUE.
    fn edge(&mut self, what: &str, value: &Typed, frame: Frame, layout: &Layout, steps: &mut Vec<String>) -> Typed {
        let Layout { partition, number, peers } = layout;
        let (column, ty) = super::frames::valued(self, value, steps);
        let found = match (what, frame) {
            (_, Frame::Between(start, end)) => self.edge_between(what, (start, end), &column, layout, steps),
            ("FIRST_VALUE", Frame::PeersAlone | Frame::PeersOn) => {
                self.at_edge(steps, &[partition, peers], "arg_min", number, &column)
            }
            ("FIRST_VALUE", _) => self.at_edge(steps, &[partition], "arg_min", number, &column),
            (_, Frame::Rows) => column,
            (_, Frame::Peers | Frame::PeersAlone) => {
                self.at_edge(steps, &[partition, peers], "arg_max", number, &column)
            }
            (_, Frame::Whole | Frame::PeersOn) => self.at_edge(steps, &[partition], "arg_max", number, &column),
        };
        Typed::column(&found, ty)
    }

    fn aggregate_over(
        &mut self,
        what: &str,
        arguments: Vec<Typed>,
        is_all: bool,
        frame: Frame,
        layout: &Layout,
        steps: &mut Vec<String>,
    ) -> Result<Typed> {
        let first = arguments.first().cloned();
        let (text, ty) = match (is_all, what) {
            (true, "COUNT" | "COUNT_BIG") => ("count()".to_string(), Some(KqlType::Long)),
            (true, _) => return Err(self.not_served(format!("{what}(*)"))),
            (false, _) => self.aggregate_of(what, arguments, false)?,
        };
        let Layout { partition, peers, .. } = layout;
        let column = match frame {
            Frame::Whole => self.beside(steps, &[partition], |column| format!("{column} = {text}")),
            Frame::PeersAlone => self.beside(steps, &[partition, peers], |column| format!("{column} = {text}")),
            Frame::Between(Some(start), Some(end)) => self.spread((what, &text), (start, end), layout, steps),
            Frame::Between(start, end) => {
                self.open_frame(what, (start, end), layout, steps, |this, layout, steps| {
                    this.running(what, first.as_ref(), ty, &layout.number, steps)
                })?
            }
            Frame::Rows => self.running(what, first.as_ref(), ty, &layout.number, steps)?,
            Frame::Peers => {
                let running = self.running(what, first.as_ref(), ty, &layout.number, steps)?;
                self.at_edge(steps, &[partition, peers], "arg_max", &layout.number, &running)
            }
            Frame::PeersOn => {
                let back = self.reversed(layout, steps);
                let running = self.running(what, first.as_ref(), ty, &back.number, steps)?;
                self.at_edge(steps, &[partition, peers], "arg_max", &back.number, &running)
            }
        };
        Ok(Typed::column(&column, ty))
    }

    /// An aggregate of the rows up to each one.
    fn running(
        &mut self,
        what: &str,
        first: Option<&Typed>,
        ty: Option<KqlType>,
        number: &str,
        steps: &mut Vec<String>,
    ) -> Result<String> {
        Ok(match (what, first, ty) {
            (_, None, _) => number.to_string(),
            ("COUNT" | "COUNT_BIG", Some(value), _) => self.counted(value, number, steps),
            ("SUM" | "MIN" | "MAX", Some(value), Some(ty)) => self.carried(what, value, ty, number, steps),
            ("AVG", Some(value), Some(KqlType::Real)) => {
                let count = self.counted(value, number, steps);
                let sum = self.carried("SUM", value, KqlType::Real, number, steps);
                let column = self.made_up("average");
                steps.push(format!("extend {column} = iff({count} == 0, real(null), {sum} / {count})"));
                column
            }
            _ => return Err(self.not_served(format!("{what} OVER with ORDER BY"))),
        })
    }

    /// How many values there are up to a row.
    fn counted(&mut self, value: &Typed, number: &str, steps: &mut Vec<String>) -> String {
        let column = self.made_up("count");
        steps.push(format!("extend {column} = row_cumsum(iff(isnotnull({}), 1, 0), {number} == 1)", value.text));
        column
    }

    /// An aggregate of the values up to a row that needs nothing but the one before; nulls do not count.
    fn carried(&mut self, what: &str, value: &Typed, ty: KqlType, number: &str, steps: &mut Vec<String>) -> String {
        let (own, column) = (self.made_up("value"), self.made_up("running"));
        let next = match what {
            "SUM" => format!("s.{column} + {own}"),
            "MIN" => format!("iff({own} < s.{column}, {own}, s.{column})"),
            _ => format!("iff({own} > s.{column}, {own}, s.{column})"),
        };
        steps.push(format!("extend {own} = {}({})", conversion(ty), value.text));
        steps.push(format!(
            "scan declare ({column}: {ty}) with (step s: true => {column} = \
             iff({number} == 1 or isnull(s.{column}), {own}, iff(isnull({own}), s.{column}, {next}));)"
        ));
        column
    }

    /// The value that a column has in the first or last row of each group.
    fn at_edge(&mut self, steps: &mut Vec<String>, keys: &[&str], edge: &str, number: &str, value: &str) -> String {
        let place = self.made_up("place");
        let found = self.beside(steps, keys, |column| format!("({place}, {column}) = {edge}({number}, {value})"));
        steps.push(format!("project-away {place}"));
        found
    }

    /// Sums the rows up by columns and gives each row its group's value. The rows lose their order.
    pub(super) fn beside(
        &mut self,
        steps: &mut Vec<String>,
        keys: &[&str],
        summed: impl FnOnce(&str) -> String,
    ) -> String {
        let (rows, column) = (self.made_up("rows"), self.made_up("beside"));
        let there: Vec<String> = keys.iter().map(|_| self.made_up("key")).collect();
        let pairs = |form: &dyn Fn(&str, &str) -> String| {
            let pairs: Vec<String> = keys.iter().zip(&there).map(|(here, there)| form(here, there)).collect();
            pairs.join(", ")
        };
        steps.push(format!("as {rows}"));
        steps.push(format!(
            "join kind=inner ({rows} | summarize {} by {}) on {}",
            summed(&column),
            pairs(&|here, there| format!("{there} = {here}")),
            pairs(&|here, there| format!("$left.{here} == $right.{there}")),
        ));
        steps.push(format!("project-away {}", there.join(", ")));
        column
    }

    /// Sorts and numbers the rows as an OVER says.
    fn laid_out(&mut self, spec: &WindowSpec, steps: &mut Vec<String>, names: &mut Names<'_, '_>) -> Result<Layout> {
        let (partition, number, peers) = (self.made_up("partition"), self.made_up("number"), self.made_up("peers"));
        let mut parts = Vec::new();
        for expr in &spec.partition_by {
            parts.push(self.expr(expr, names)?.text);
        }
        let (mut orders, mut keys) = (Vec::new(), Vec::new());
        for order in &spec.order_by {
            // A query's value is the same for all rows: the usual way to ask for no order where one must stand.
            if matches!(order.expr, Expr::Subquery(_)) {
                continue;
            }
            let value = self.expr(&order.expr, names)?;
            keys.push(Order { text: value.text.clone(), descending: order.options.asc == Some(false) }.key());
            orders.push(value.text);
        }
        // As text: nulls are a group of their own, and no comparison with null says so.
        let told = |texts: &[String]| match texts {
            [] => "'-'".to_string(),
            texts => format!("tostring(pack_array({}))", texts.join(", ")),
        };
        steps.push(format!("extend {partition} = {}, {peers} = {}", told(&parts), told(&orders)));
        if !parts.is_empty() {
            keys.insert(0, format!("{partition} asc"));
        }
        steps.push(if keys.is_empty() { "serialize".to_string() } else { format!("sort by {}", keys.join(", ")) });
        let restart = match parts.is_empty() {
            true => String::new(),
            false => format!(", {partition} != prev({partition})"),
        };
        steps.push(format!("extend {number} = row_number(1{restart})"));
        Ok(Layout { partition, number, peers })
    }

    fn window_arguments(
        &mut self,
        what: &str,
        call: &Function,
        names: &mut Names<'_, '_>,
    ) -> Result<(Vec<Typed>, bool)> {
        let FunctionArguments::List(list) = &call.args else { return Ok((Vec::new(), false)) };
        if list.duplicate_treatment.is_some() || !list.clauses.is_empty() {
            return Err(self.not_served(format!("{what} with DISTINCT or clauses and OVER")));
        }
        if let [FunctionArg::Unnamed(FunctionArgExpr::Wildcard)] = list.args.as_slice() {
            return Ok((Vec::new(), true));
        }
        let arguments = self.arguments(what, &list.args)?;
        let values = arguments.into_iter().map(|argument| self.expr(argument, names)).collect::<Result<_>>()?;
        Ok((values, false))
    }
}

/// The calls with OVER in expressions, each once, outside of subqueries.
fn calls_in<'e>(expressions: impl Iterator<Item = &'e Expr>) -> Vec<Function> {
    #[derive(Default)]
    struct Finder {
        depth: usize,
        found: Vec<Function>,
    }
    impl Visitor for Finder {
        type Break = ();
        fn pre_visit_query(&mut self, _: &Query) -> ControlFlow<()> {
            self.depth += 1;
            ControlFlow::Continue(())
        }
        fn post_visit_query(&mut self, _: &Query) -> ControlFlow<()> {
            self.depth -= 1;
            ControlFlow::Continue(())
        }
        fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
            if let Expr::Function(call) = expr
                && self.depth == 0
                && call.over.is_some()
                && !self.found.contains(call)
            {
                self.found.push(call.clone());
            }
            ControlFlow::Continue(())
        }
    }
    let mut finder = Finder::default();
    for expr in expressions {
        let _whole = Visit::visit(expr, &mut finder);
    }
    finder.found
}
