//! Functions over what `hll()` and `tdigest()` made.
//!
//! Input: dynamic values in the forms of `aggregate::hyperloglog` and `aggregate::digest`. Nulls: a
//! value that is no sketch gives null.

use datafusion_common::Result;
use datafusion_expr::ColumnarValue;
use tidewater_kql::KqlType;

use super::kernel::{Texts, each, each_dynamic};
use super::rows::{Numbers, TO_DYNAMIC, TO_LONG, TO_REAL, refused, row};
use crate::aggregate::digest::{Digest, Scale};
use crate::aggregate::hyperloglog::Sketch;
use crate::call::Call;
use crate::dynamic::{ArrayWriter, Dynamic, Json};
use crate::registry::{NameRule, Scalar};
use crate::signature::{Accepts, DYNAMIC, Signature, repeated, required, sig};

const DIGEST: crate::signature::Param = required("tdigest", DYNAMIC);
const VALUE: Accepts = Accepts::OneOf(&[
    KqlType::Int,
    KqlType::Long,
    KqlType::Real,
    KqlType::Decimal,
    KqlType::DateTime,
    KqlType::TimeSpan,
]);
const MERGE_HLL: &[Signature] = &[sig(&[required("hll", DYNAMIC), repeated("hll", DYNAMIC)], TO_DYNAMIC)];
const MERGE_TDIGEST: &[Signature] = &[sig(&[DIGEST, repeated("tdigest", DYNAMIC)], TO_DYNAMIC)];
const RANK: &[Signature] = &[sig(&[DIGEST, required("value", VALUE)], TO_REAL)];

/// The rows.
pub const ROWS: &[Scalar] = &[
    row!(
        "dcount_hll",
        &[sig(&[required("hll", DYNAMIC)], TO_LONG)],
        dcount_hll,
        "Number of distinct values that a sketch of `hll` has seen.",
        "dcount-hll-function",
        name_rule: NameRule::Affix("dcount_hll_", "")
    ),
    row!("hll_merge", MERGE_HLL, hll_merge, "Union of sketches that `hll` made.", "hll-merge-function"),
    row!(
        "tdigest_merge",
        MERGE_TDIGEST,
        tdigest_merge,
        "Union of summaries that `tdigest` made.",
        "tdigest-merge-function",
        aliases: &["merge_tdigest"]
    ),
    row!(
        "percentile_tdigest",
        &[sig(&[DIGEST, required("percentile", Accepts::Number)], TO_DYNAMIC)],
        percentile_tdigest,
        "Percentile of the values of a summary that `tdigest` made.",
        "percentile-tdigest-function",
        name_rule: NameRule::Affix("percentile_tdigest_", "")
    ),
    row!(
        "percentiles_array_tdigest",
        &[
            sig(&[DIGEST, required("percentiles", DYNAMIC)], TO_DYNAMIC),
            sig(&[DIGEST, required("percentile", Accepts::Number), repeated("percentile", Accepts::Number)], TO_DYNAMIC),
        ],
        percentiles_array,
        "Percentiles of the values of a summary that `tdigest` made, as an array.",
        "percentile-tdigest-function",
        aliases: &["percentile_array_tdigest"],
        name_rule: NameRule::Affix("percentile_tdigest_", "")
    ),
    row!(
        "rank_tdigest",
        RANK,
        |call| rank(call, |below, _| below),
        "How many values of a summary are not above `value`.",
        "rank-tdigest-function"
    ),
    row!(
        "percentrank_tdigest",
        RANK,
        |call| rank(call, |below, all| below * 100.0 / all),
        "How many values of a summary are not above `value`, in per cent.",
        "percentrank-tdigest-function"
    ),
    refused!("hll_isvalid", "it is internal to the reference engine", "Internal to the reference engine.", ""),
    refused!("tdigest_isvalid", "it is internal to the reference engine", "Internal to the reference engine.", ""),
    refused!("__hll_normalize", "it is internal to the reference engine", "Internal to the reference engine.", ""),
];

fn dcount_hll(call: &Call<'_>) -> Result<ColumnarValue> {
    let sketches = Texts::of(call, 0)?;
    each(call, |row| Sketch::read_json(sketches.get(row)?).map(|sketch| sketch.count()))
}

fn all_texts(call: &Call<'_>) -> Result<Vec<Texts>> {
    (0..call.args.len()).map(|position| Texts::of(call, position)).collect()
}

fn hll_merge(call: &Call<'_>) -> Result<ColumnarValue> {
    let sketches = all_texts(call)?;
    each_dynamic(call, |row, out| {
        let mut read = sketches.iter().filter_map(|texts| Sketch::read_json(texts.get(row)?));
        let Some(mut merged) = read.next() else { return false };
        read.for_each(|sketch| merged.merge(&sketch));
        merged.write_json(out);
        true
    })
}

fn tdigest_merge(call: &Call<'_>) -> Result<ColumnarValue> {
    let digests = all_texts(call)?;
    each_dynamic(call, |row, out| {
        let mut read = digests.iter().filter_map(|texts| Digest::read_json(texts.get(row)?));
        let Some((mut merged, scale)) = read.next() else { return false };
        read.filter(|(_, other)| *other == scale).for_each(|(digest, _)| merged.merge(&digest, scale));
        merged.write_json(scale, out);
        true
    })
}

fn percentile_tdigest(call: &Call<'_>) -> Result<ColumnarValue> {
    let (digests, percents) = (Texts::of(call, 0)?, Numbers::of(call, 1)?);
    each_dynamic(call, |row, out| {
        let read = digests.get(row).and_then(Digest::read_json).zip(percents.real(row));
        let Some(((mut digest, scale), percent)) = read else { return false };
        write(&mut digest, scale, &[percent], out).is_some()
    })
}

/// Appends the percentiles, separated by commas; `None` without values or beyond 0 to 100.
fn write(digest: &mut Digest, scale: Scale, percents: &[f64], out: &mut Vec<u8>) -> Option<()> {
    if !percents.iter().all(|percent| (0.0..=100.0).contains(percent)) {
        return None;
    }
    for (index, key) in digest.percentiles(percents, scale)?.into_iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        scale.write_json(key, out);
    }
    Some(())
}

fn percentiles_array(call: &Call<'_>) -> Result<ColumnarValue> {
    let digests = Texts::of(call, 0)?;
    let list = if call.types.get(1) == Some(&KqlType::Dynamic) { Some(Texts::of(call, 1)?) } else { None };
    let numbers = match list {
        Some(_) => Vec::new(),
        None => (1..call.args.len()).map(|position| Numbers::of(call, position)).collect::<Result<Vec<_>>>()?,
    };
    each_dynamic(call, |row, out| {
        let percents: Option<Vec<f64>> = match &list {
            Some(list) => Json::new(list.get(row)).elements().map(|p| Some(p.number()?.to_real())).collect(),
            None => numbers.iter().map(|numbers| numbers.real(row)).collect(),
        };
        let read = digests.get(row).and_then(Digest::read_json).zip(percents);
        let Some(((mut digest, scale), percents)) = read else { return false };
        let mut array = ArrayWriter::new(out);
        let written = percents.is_empty() || write(&mut digest, scale, &percents, array.next()).is_some();
        array.close();
        written
    })
}

fn rank(call: &Call<'_>, answer: fn(f64, f64) -> f64) -> Result<ColumnarValue> {
    let (digests, values) = (Texts::of(call, 0)?, Numbers::of(call, 1)?);
    each(call, |row| {
        let (mut digest, scale) = Digest::read_json(digests.get(row)?)?;
        let (below, all) = digest.rank(values.real(row)?, scale);
        (all > 0.0).then(|| answer(below, all))
    })
}

#[cfg(test)]
mod tests {
    use datafusion_common::ScalarValue;

    use super::*;
    use crate::registry::Imp;
    use crate::signature::Returns;

    fn run(name: &str, args: &[(KqlType, ScalarValue)]) -> String {
        let row = ROWS.iter().find(|row| row.name == name).unwrap();
        let Imp::Kernel(kernel) = row.imp else { panic!() };
        let Returns::Type(returns) = row.signatures[0].returns else { panic!() };
        let (types, args): (Vec<KqlType>, Vec<ColumnarValue>) =
            args.iter().map(|(ty, value)| (*ty, ColumnarValue::Scalar(value.clone()))).unzip();
        match kernel(&Call { args: &args, types: &types, returns, rows: 1 }).unwrap() {
            ColumnarValue::Scalar(value) => value.to_string(),
            ColumnarValue::Array(_) => panic!(),
        }
    }

    fn dynamic(text: &str) -> (KqlType, ScalarValue) {
        (KqlType::Dynamic, ScalarValue::Utf8View(Some(text.into())))
    }

    fn long(value: i64) -> (KqlType, ScalarValue) {
        (KqlType::Long, ScalarValue::Int64(Some(value)))
    }

    #[test]
    fn digests_are_asked_for_percentiles_and_ranks() {
        let digest = || dynamic("[[\"real\"],[1.0,2.0],[1,2]]");
        assert_eq!(run("percentile_tdigest", &[digest(), long(50)]), "2.0");
        assert_eq!(run("percentile_tdigest", &[digest(), long(500)]), "NULL");
        assert_eq!(run("percentile_tdigest", &[dynamic("[]"), long(50)]), "NULL");
        assert_eq!(run("percentiles_array_tdigest", &[digest(), dynamic("[0,50]")]), "[1.0,2.0]");
        assert_eq!(run("percentiles_array_tdigest", &[digest(), long(0), long(50)]), "[1.0,2.0]");
        let all: Vec<String> = (1..=1000).map(|n| n.to_string()).collect();
        let thousand = format!("[[7],[{}],[{}]]", all.join(","), vec!["1"; 1000].join(","));
        assert_eq!(run("rank_tdigest", &[dynamic(&thousand), long(685)]), "685");
        assert_eq!(run("percentrank_tdigest", &[dynamic(&thousand), long(685)]), "68.5");
        assert_eq!(
            run("tdigest_merge", &[dynamic("[[7],[1],[1]]"), dynamic("[[7],[5,1],[1,2]]")]),
            "[[7],[1,5],[3,1]]"
        );
    }

    #[test]
    fn sketches_are_counted_and_merged() {
        let (a, b) = (dynamic("[[1024,14],[\"1\",\"-2\"],[]]"), dynamic("[[1024,14],[\"1\",\"3\"],[]]"));
        assert_eq!(run("dcount_hll", std::slice::from_ref(&a)), "2");
        assert_eq!(run("dcount_hll", &[dynamic(&run("hll_merge", &[a, b]))]), "3");
        assert_eq!(run("dcount_hll", &[dynamic("{}")]), "NULL");
    }
}
