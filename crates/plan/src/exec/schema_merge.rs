//! `schema_merge`: one schema of several. Arguments: name, place and type of a column. Columns: the same with the type's
//! name in .NET, as `getschema` has them.
//!
//! Columns stand by their last place. A column whose place differs is an error where the order must be kept, one whose
//! types have no common type always. Source: schema_merge page.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Int32Builder, Int64Builder, StringViewBuilder};
use arrow::datatypes::Int64Type;
use datafusion::error::Result;
use tidewater_kql::KqlType;

use super::algorithm::{Group, GroupAlgorithm, GroupResult};

/// The operator.
#[derive(Clone, Debug)]
pub struct SchemaMerge {
    /// Columns must keep their places.
    pub preserves_order: bool,
}

struct Merged {
    name: String,
    first_place: i64,
    last_place: i64,
    ty: Result<String, String>,
}

/// The type that holds the values of both; `None` where there is none.
fn common(left: &str, right: &str) -> Option<String> {
    if left == right {
        return Some(left.to_string());
    }
    let rank = |name: &str| match KqlType::parse(name)? {
        KqlType::Int => Some(0),
        KqlType::Long => Some(1),
        KqlType::Real => Some(2),
        KqlType::Decimal => Some(3),
        _ => None,
    };
    let widest = rank(left)?.max(rank(right)?);
    let widest = [KqlType::Int, KqlType::Long, KqlType::Real, KqlType::Decimal][widest];
    Some(widest.name().to_string())
}

impl GroupAlgorithm for SchemaMerge {
    fn name(&self) -> &'static str {
        "SchemaMerge"
    }

    fn settings(&self) -> String {
        format!("{}", self.preserves_order)
    }

    fn run(&self, rows: Group<'_>) -> Result<GroupResult> {
        let (names, places, types) =
            (rows.args[0].as_string_view(), rows.args[1].as_primitive::<Int64Type>(), rows.args[2].as_string_view());
        rows.memory.try_grow(rows.rows * 96 + names.get_buffer_memory_size())?;
        let mut known: HashMap<&str, usize> = HashMap::new();
        let mut merged: Vec<Merged> = Vec::new();
        for row in 0..rows.rows {
            let (name, ty) = (names.value(row), types.value(row));
            let place = if places.is_valid(row) { places.value(row) } else { i64::MAX };
            match known.get(name) {
                None => {
                    known.insert(name, merged.len());
                    let ty = Ok(ty.to_string());
                    merged.push(Merged { name: name.to_string(), first_place: place, last_place: place, ty });
                }
                Some(at) => {
                    let column = &mut merged[*at];
                    column.first_place = column.first_place.min(place);
                    column.last_place = column.last_place.max(place);
                    if let Ok(known) = &column.ty {
                        column.ty = common(known, ty).ok_or_else(|| {
                            let (left, right) =
                                if known.as_str() <= ty { (known.as_str(), ty) } else { (ty, known.as_str()) };
                            format!("column has conflicting types {left} and {right}")
                        });
                    }
                }
            }
        }
        merged.sort_by_key(|column| column.last_place);
        let (mut names, mut ordinals, mut data_types, mut column_types) = (
            StringViewBuilder::new(),
            Vec::with_capacity(merged.len()),
            StringViewBuilder::new(),
            StringViewBuilder::new(),
        );
        for (place, column) in merged.iter().enumerate() {
            names.append_value(&column.name);
            let is_moved = self.preserves_order && column.first_place != column.last_place;
            let ty = if is_moved { Err("columns are out of order".to_string()) } else { column.ty.clone() };
            match ty {
                Ok(ty) => {
                    ordinals.push(place as i64);
                    data_types.append_value(KqlType::parse(&ty).map_or(ty.as_str(), |ty| ty.system_name()));
                    column_types.append_value(&ty);
                }
                Err(why) => {
                    ordinals.push(-1);
                    data_types.append_value(format!("ERROR(unknown CSL type:ERROR({why}))"));
                    column_types.append_value(format!("ERROR({why})"));
                }
            }
        }
        let ordinals: ArrayRef = match rows.columns.get(1) {
            Some((_, KqlType::Int)) => {
                let mut builder = Int32Builder::new();
                ordinals.iter().for_each(|place| builder.append_option(i32::try_from(*place).ok()));
                Arc::new(builder.finish())
            }
            _ => {
                let mut builder = Int64Builder::new();
                builder.append_slice(&ordinals);
                Arc::new(builder.finish())
            }
        };
        Ok(GroupResult {
            rows: vec![None; merged.len()],
            columns: vec![
                Arc::new(names.finish()),
                ordinals,
                Arc::new(data_types.finish()),
                Arc::new(column_types.finish()),
            ],
        })
    }
}
