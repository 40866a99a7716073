//! The engine expressions of `d.a.b[0]` and `d[x]`.

use datafusion_common::{Result, ScalarValue};
use datafusion_expr::{ColumnarValue, Expr, lit};
use tidewater_kql::KqlType;

use super::path::{Path, Step};
use super::{Dynamic, Json};
use crate::call::Call;
use crate::scalar::kernel::{Input, Integers, Piece, TextSlot, Texts, each_piece};
use crate::udf::KernelUdf;

/// `base.a.b[0]`: a constant path into a dynamic. The value is dynamic.
pub fn access(base: Expr, path: &Path) -> Expr {
    if path.steps().is_empty() {
        return base;
    }
    let mut args = vec![base];
    let mut types = vec![KqlType::Dynamic];
    for step in path.steps() {
        let (value, ty) = match step {
            Step::Key(key) => (ScalarValue::Utf8View(Some(key.to_string())), KqlType::String),
            Step::Index(position) => (ScalarValue::Int64(Some(*position)), KqlType::Long),
        };
        args.push(lit(value));
        types.push(ty);
    }
    KernelUdf::call("access", true, access_kernel, args, &types, KqlType::Dynamic)
}

/// `base[index]` with an index that is known at run time only: a string, int, long or dynamic. The value is dynamic.
pub fn access_at(base: Expr, index: Expr, index_ty: KqlType) -> Expr {
    let types = [KqlType::Dynamic, index_ty];
    KernelUdf::call("access_at", true, access_at_kernel, vec![base, index], &types, KqlType::Dynamic)
}

fn access_kernel(call: &Call<'_>) -> Result<ColumnarValue> {
    let base = Texts::of(call, 0)?;
    let mut steps = Vec::with_capacity(call.args.len() - 1);
    for position in 1..call.args.len() {
        steps.push(match call.types[position] {
            KqlType::Long => Step::Index(Integers::of(call, position)?.get(0).unwrap_or(0)),
            _ => Step::Key(Texts::of(call, position)?.text(0).into()),
        });
    }
    let path = Path::new(steps);
    each_piece(call, &base, |_, text| piece(text, Json::new(Some(text)).get(&path)))
}

fn access_at_kernel(call: &Call<'_>) -> Result<ColumnarValue> {
    let base = Texts::of(call, 0)?;
    match call.types[1] {
        KqlType::Int | KqlType::Long => {
            let index = Integers::of(call, 1)?;
            each_piece(call, &base, |row, text| {
                piece(text, index.get(row).and_then(|index| Json::new(Some(text)).element(index)))
            })
        }
        KqlType::Dynamic => {
            let index: Input<TextSlot> = Texts::of(call, 1)?;
            each_piece(call, &base, |row, text| {
                let index = Json::new(index.get(row));
                let value = Json::new(Some(text));
                let found = match index.string() {
                    Some(key) => value.property(&key),
                    None => index.number().and_then(|number| value.element(number.exact_long()?)),
                };
                piece(text, found)
            })
        }
        _ => {
            let index = Texts::of(call, 1)?;
            each_piece(call, &base, |row, text| piece(text, Json::new(Some(text)).property(index.text(row))))
        }
    }
}

/// A value found in `text` as a part of it.
fn piece(text: &str, found: Option<Json<'_>>) -> Piece {
    match found {
        Some(value) if !value.is_null() => Piece::Part(value.range_in(text)),
        _ => Piece::Null,
    }
}
