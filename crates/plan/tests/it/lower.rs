//! Bound relations as engine plans: their rows, their exact schemas, and what the optimizer sees.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::util::pretty::pretty_format_batches;
use datafusion::datasource::MemTable;
use datafusion::execution::context::SessionContext;
use datafusion::physical_plan::displayable;
use tidewater_functions::{find_aggregate, find_scalar};
use tidewater_kql::ast::BinaryOp;
use tidewater_kql::{Column, KqlType, TableSchema};
use tidewater_plan::TableHandle;
use tidewater_plan::bound::*;
use tidewater_plan::lower::lower_relation;
use tidewater_plan::session::{SessionOptions, new_session};

fn session() -> SessionContext {
    new_session(&SessionOptions { target_partitions: 2, ..SessionOptions::default() })
}

fn column(id: u32, name: &str, ty: KqlType) -> BoundColumn {
    BoundColumn { id: ColumnId(id), name: name.to_string(), ty }
}

fn rel(op: RelOp, columns: Vec<BoundColumn>) -> Arc<Rel> {
    Arc::new(Rel { op, columns, is_serialized: false, is_sorted: false, depth: 1 })
}

fn reference(column: &BoundColumn) -> BExpr {
    BExpr::column(column)
}

fn long(value: i64) -> BExpr {
    BExpr::constant(Constant::long(value))
}

fn binary(op: BinaryOp, left: BExpr, right: BExpr, ty: KqlType) -> BExpr {
    BExpr { kind: BExprKind::Binary { op, left: Box::new(left), right: Box::new(right) }, ty }
}

fn call(name: &'static str, args: Vec<BExpr>, ty: KqlType) -> BExpr {
    BExpr { kind: BExprKind::Call { row: ScalarRow(find_scalar(name).unwrap()), args }, ty }
}

fn aggregate(name: &'static str, args: Vec<BExpr>, returns: KqlType) -> BoundAggregate {
    BoundAggregate::Function { row: AggregateRow(find_aggregate(name).unwrap()), name, args, returns }
}

fn rows(columns: Vec<BoundColumn>, rows: Vec<Vec<Value>>) -> Arc<Rel> {
    rel(RelOp::Rows { rows }, columns)
}

fn numbers(from: u32, count: i64) -> (Arc<Rel>, BoundColumn, BoundColumn) {
    let (n, s) = (column(from, "n", KqlType::Long), column(from + 1, "s", KqlType::String));
    let cells = (0..count).map(|row| vec![Value::Long(row), Value::String(format!("k{}", row % 3))]).collect();
    (rows(vec![n.clone(), s.clone()], cells), n, s)
}

async fn run(session: &SessionContext, rel: &Rel) -> Vec<RecordBatch> {
    let plan = lower_relation(rel, 7).unwrap();
    assert_eq!(plan.schema().as_arrow(), rel.schema().arrow().as_ref());
    let physical = session.state().create_physical_plan(&plan).await.unwrap();
    assert_eq!(physical.schema(), rel.schema().arrow());
    datafusion::physical_plan::collect(physical, session.task_ctx()).await.unwrap()
}

async fn text(rel: &Rel) -> String {
    let batches = run(&session(), rel).await;
    let text = pretty_format_batches(&batches).unwrap().to_string();
    text.lines().filter(|line| line.starts_with('|')).map(|line| line.replace(' ', "")).collect::<Vec<_>>().join("\n")
}

async fn explain(rel: &Rel) -> String {
    let session = session();
    let plan = lower_relation(rel, 7).unwrap();
    let physical = session.state().create_physical_plan(&plan).await.unwrap();
    displayable(physical.as_ref()).indent(false).to_string()
}

#[tokio::test]
async fn everything_runs() {
    let (source, n, s) = numbers(0, 10);
    println!("{}", text(&source).await);
    let filtered = rel(
        RelOp::Filter {
            input: Arc::clone(&source),
            predicate: binary(BinaryOp::Greater, reference(&n), long(3), KqlType::Bool),
        },
        source.columns.clone(),
    );
    println!("{}", text(&filtered).await);
    let twice = column(10, "twice", KqlType::Long);
    let projected = rel(
        RelOp::Project {
            input: Arc::clone(&filtered),
            items: vec![reference(&s), binary(BinaryOp::Multiply, reference(&n), long(2), KqlType::Long)],
        },
        vec![s.clone(), twice.clone()],
    );
    println!("{}", text(&projected).await);
    let sorted = rel(
        RelOp::Sort {
            input: Arc::clone(&source),
            keys: vec![SortKey { expr: reference(&n), ascending: false, nulls_first: false }],
            fetch: None,
        },
        source.columns.clone(),
    );
    let only = rel(RelOp::Project { input: Arc::clone(&sorted), items: vec![reference(&s)] }, vec![s.clone()]);
    println!("{}", text(&only).await);
    println!("{}", explain(&only).await);
    let limited = rel(RelOp::Limit { input: Arc::clone(&only), count: 2 }, only.columns.clone());
    println!("{}\n{}", text(&limited).await, explain(&limited).await);
    let counted = rel(
        RelOp::Aggregate {
            input: Arc::clone(&source),
            keys: vec![],
            aggregates: vec![aggregate("count", vec![], KqlType::Long)],
        },
        vec![column(20, "Count", KqlType::Long)],
    );
    println!("{}\n{}", text(&counted).await, explain(&counted).await);
    let grouped = rel(
        RelOp::Aggregate {
            input: Arc::clone(&sorted),
            keys: vec![reference(&s)],
            aggregates: vec![
                aggregate("sum", vec![reference(&n)], KqlType::Long),
                aggregate("make_list", vec![reference(&n)], KqlType::Dynamic),
                BoundAggregate::ArgExtreme { is_max: true, by: reference(&n), values: vec![reference(&s)] },
                BoundAggregate::TakeAny { values: vec![reference(&n), reference(&s)], predicate: None },
            ],
        },
        vec![
            column(2, "s", KqlType::String),
            column(30, "sum_n", KqlType::Long),
            column(31, "list_n", KqlType::Dynamic),
            column(32, "n", KqlType::Long),
            column(33, "s1", KqlType::String),
            column(34, "n1", KqlType::Long),
            column(35, "s2", KqlType::String),
        ],
    );
    println!("{}\n{}", text(&grouped).await, explain(&grouped).await);
    let (other, n2, s2) = numbers(100, 4);
    for kind in [
        JoinKind::InnerUnique,
        JoinKind::Inner,
        JoinKind::LeftOuter,
        JoinKind::FullOuter,
        JoinKind::LeftSemi,
        JoinKind::RightAnti,
    ] {
        let columns = match kind {
            JoinKind::LeftSemi => source.columns.clone(),
            JoinKind::RightAnti => other.columns.clone(),
            _ => source
                .columns
                .iter()
                .chain(&other.columns)
                .enumerate()
                .map(|(at, c)| column(c.id.0, &format!("x{at}"), c.ty))
                .collect(),
        };
        let joined = rel(
            RelOp::Join {
                kind,
                left: Arc::clone(&source),
                right: Arc::clone(&other),
                keys: vec![(reference(&n), reference(&n2))],
            },
            columns.clone(),
        );
        println!("{kind:?}\n{}", text(&joined).await);
        let joined = rel(
            RelOp::Join {
                kind,
                left: Arc::clone(&source),
                right: Arc::clone(&other),
                keys: vec![(reference(&s), reference(&s2))],
            },
            columns,
        );
        println!("{}", explain(&joined).await);
        text(&joined).await;
    }
    let (u, v) = (column(200, "u", KqlType::Long), column(201, "v", KqlType::String));
    let union = rel(RelOp::Union { inputs: vec![Arc::clone(&source), Arc::clone(&other)] }, vec![u, v]);
    println!("{}\n{}", text(&union).await, explain(&union).await);
    let range = rel(
        RelOp::Range { start: Constant::long(1), stop: Constant::long(1_000_000), step: Constant::long(3) },
        vec![column(300, "x", KqlType::Long)],
    );
    let windowed = rel(
        RelOp::Window {
            input: Arc::clone(&sorted),
            partition: vec![],
            functions: vec![
                WindowFunction::RowNumber { start: Constant::long(1), restart: None },
                WindowFunction::Shift { value: reference(&n), offset: 1, default: Constant::long(-1) },
                WindowFunction::Shift { value: reference(&n), offset: -2, default: Constant::null(KqlType::Long) },
                WindowFunction::Cumsum { value: reference(&n), restart: None },
            ],
        },
        vec![
            n.clone(),
            s.clone(),
            column(40, "rn", KqlType::Long),
            column(41, "p", KqlType::Long),
            column(42, "nx", KqlType::Long),
            column(43, "cs", KqlType::Long),
        ],
    );
    println!("{}\n{}", text(&windowed).await, explain(&windowed).await);
    let parted = rel(
        RelOp::Window {
            input: Arc::clone(&sorted),
            partition: vec![s.id],
            functions: vec![
                WindowFunction::RowNumber { start: Constant::long(1), restart: None },
                WindowFunction::Shift { value: reference(&n), offset: 1, default: Constant::long(-1) },
                WindowFunction::Shift { value: reference(&n), offset: -1, default: Constant::null(KqlType::Long) },
            ],
        },
        windowed.columns[..5].to_vec(),
    );
    println!("{}", text(&parted).await);
    let total = rel(
        RelOp::Aggregate {
            input: Arc::clone(&range),
            keys: vec![],
            aggregates: vec![
                aggregate("sum", vec![reference(&range.columns[0])], KqlType::Long),
                aggregate("count", vec![], KqlType::Long),
            ],
        },
        vec![column(301, "sum_x", KqlType::Long), column(302, "c", KqlType::Long)],
    );
    println!("{}\n{}", text(&total).await, explain(&total).await);
    let top = rel(
        RelOp::PartitionTop {
            input: Arc::clone(&source),
            partition: vec![s.id],
            keys: vec![SortKey { expr: reference(&n), ascending: false, nulls_first: false }],
            fetch: 2,
        },
        source.columns.clone(),
    );
    println!("{}\n{}", text(&top).await, explain(&top).await);
    let shared = rel(
        RelOp::Shared { id: SharedId(1), rel: Arc::clone(&sorted) },
        vec![column(400, "n", KqlType::Long), column(401, "s", KqlType::String)],
    );
    let again = rel(
        RelOp::Shared { id: SharedId(1), rel: Arc::clone(&sorted) },
        vec![column(410, "n", KqlType::Long), column(411, "s", KqlType::String)],
    );
    println!("{}", text(&shared).await);
    let both = rel(
        RelOp::Union { inputs: vec![shared, again] },
        vec![column(420, "n", KqlType::Long), column(421, "s", KqlType::String)],
    );
    println!("{}\n{}", text(&both).await, explain(&both).await);
    let bag = column(500, "d", KqlType::Dynamic);
    let bags = rows(
        vec![n.clone(), bag.clone()],
        vec![
            vec![Value::Long(1), Value::Dynamic("[1,2,3]".into())],
            vec![Value::Long(2), Value::Dynamic("{\"a\":1,\"b\":\"x\"}".into())],
            vec![Value::Long(3), Value::Null],
            vec![Value::Long(4), Value::Dynamic("[]".into())],
        ],
    );
    let expanded = rel(
        RelOp::MvExpand {
            input: Arc::clone(&bags),
            items: vec![MvExpandItem { value: reference(&bag), bag_as_array: false, to: None }],
            has_index: true,
            limit: None,
        },
        vec![n.clone(), bag.clone(), column(501, "e", KqlType::Dynamic), column(502, "i", KqlType::Long)],
    );
    println!("{}\n{}", text(&expanded).await, explain(&expanded).await);
    let parsed = rel(
        RelOp::Parse {
            input: Arc::clone(&source),
            source: reference(&s),
            mode: ParseMode::Simple,
            pattern: vec![ParsePiece::Text("k".into()), ParsePiece::Capture(KqlType::Long)],
            drop_unmatched: false,
        },
        vec![n.clone(), s.clone(), column(510, "v", KqlType::Long)],
    );
    println!("{}\n{}", text(&parsed).await, explain(&parsed).await);
    let series = rel(
        RelOp::MakeSeries(Box::new(MakeSeries {
            input: Arc::clone(&source),
            keys: vec![reference(&s)],
            aggregates: vec![(aggregate("sum", vec![reference(&n)], KqlType::Long), Constant::long(0))],
            axis: reference(&n),
            from: Some(Constant::long(0)),
            to: Some(Constant::long(10)),
            step: Constant::long(2),
            in_range: false,
            nonempty: false,
        })),
        vec![s.clone(), column(601, "sum_n", KqlType::Dynamic), column(602, "n", KqlType::Dynamic)],
    );
    println!("{}\n{}", text(&series).await, explain(&series).await);
    let sampled = rel(RelOp::Sample { input: Arc::clone(&source), count: 3 }, source.columns.clone());
    println!("{}", text(&sampled).await);
    let _ = call("strlen", vec![reference(&s)], KqlType::Long);
    let schema = TableSchema::new(vec![Column::new("t", KqlType::DateTime), Column::new("a b", KqlType::String)]);
    let table = TableHandle {
        database: "d".into(),
        name: "T".into(),
        provider: Arc::new(MemTable::try_new(schema.arrow(), vec![vec![]]).unwrap()),
        schema,
    };
    let (t, ab) = (column(700, "t", KqlType::DateTime), column(701, "x", KqlType::String));
    let scanned = rel(RelOp::Table { table: Arc::new(table), projection: vec![0, 1] }, vec![t.clone(), ab]);
    let filtered = rel(
        RelOp::Filter {
            input: Arc::clone(&scanned),
            predicate: binary(
                BinaryOp::Greater,
                reference(&t),
                BExpr::constant(Constant { value: Value::DateTime(5), ty: KqlType::DateTime }),
                KqlType::Bool,
            ),
        },
        scanned.columns.clone(),
    );
    println!("{}\n{}", text(&filtered).await, explain(&filtered).await);
}
