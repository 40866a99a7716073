//! The frame around every aggregate of our own.
//!
//! An aggregate says what happens to the states of many groups (`Groups`), once. From that the
//! engine gets both of its forms: `GroupsAccumulator` for `by`, `Accumulator` for a single group,
//! each with partial states that merge. A state is never consumed by reading it.

use std::fmt::{Debug, Formatter};
use std::hash::{Hash, Hasher};
use std::mem::size_of;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, BooleanArray, LargeBinaryArray, LargeBinaryBuilder};
use arrow::buffer::NullBuffer;
use arrow::datatypes::{DataType, Field, FieldRef};
use datafusion_common::{Result, ScalarValue, internal_err};
use datafusion_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion_expr::utils::{AggregateOrderSensitivity, format_state_name};
use datafusion_expr::{
    Accumulator, AggregateUDF, AggregateUDFImpl, EmitTo, GroupsAccumulator, ReversedUDAF, Signature, Volatility,
};

/// Which rows of a batch count, and for which group.
#[derive(Clone, Copy)]
pub struct Rows<'a> {
    len: usize,
    groups: Option<&'a [usize]>,
    keep: Option<&'a BooleanArray>,
}

impl<'a> Rows<'a> {
    /// All rows of a batch of `len` rows, for group 0.
    pub fn single(len: usize) -> Rows<'a> {
        Rows { len, groups: None, keep: None }
    }

    /// Row `i` belongs to `groups[i]`; where `keep` is given, only rows with true count.
    pub fn grouped(groups: &'a [usize], keep: Option<&'a BooleanArray>) -> Rows<'a> {
        Rows { len: groups.len(), groups: Some(groups), keep }
    }

    /// Whether every row counts and belongs to group 0: whole-array kernels may be used.
    pub fn is_single(&self) -> bool {
        self.groups.is_none() && self.keep.is_none()
    }

    /// Calls `f(row, group)` for every row that counts.
    pub fn each(&self, mut f: impl FnMut(usize, usize)) {
        match (self.groups, self.keep) {
            (None, None) => (0..self.len).for_each(|row| f(row, 0)),
            (Some(groups), None) => groups.iter().enumerate().for_each(|(row, group)| f(row, *group)),
            (groups, Some(keep)) => {
                for row in 0..self.len {
                    if keep.is_valid(row) && keep.value(row) {
                        f(row, groups.map_or(0, |groups| groups[row]));
                    }
                }
            }
        }
    }

    /// Like `each`, leaving out the rows that `nulls` marks as null.
    pub fn each_valid(&self, nulls: Option<&NullBuffer>, mut f: impl FnMut(usize, usize)) {
        match nulls.filter(|nulls| nulls.null_count() > 0) {
            None => self.each(f),
            Some(nulls) => self.each(|row, group| {
                if nulls.is_valid(row) {
                    f(row, group);
                }
            }),
        }
    }

    /// Like `each`, for work that can fail; stops at the first error.
    pub fn try_each(&self, mut f: impl FnMut(usize, usize) -> Result<()>) -> Result<()> {
        let mut outcome = Ok(());
        self.each(|row, group| {
            if outcome.is_ok() {
                outcome = f(row, group);
            }
        });
        outcome
    }
}

/// The states of one aggregate for many groups, numbered from 0.
///
/// Arrays that a constant argument makes may follow the arguments an aggregate reads; they are ignored.
#[allow(clippy::len_without_is_empty, reason = "the number of groups; nobody asks for none")]
pub trait Groups: Send + Sync + 'static {
    /// Number of groups.
    fn len(&self) -> usize;
    /// Makes room for `groups` groups, never fewer than there are; new ones have seen no row.
    fn resize(&mut self, groups: usize);
    /// Takes in rows of the arguments.
    fn update(&mut self, args: &[ArrayRef], rows: Rows<'_>) -> Result<()>;
    /// Takes in states that `state` gave.
    fn merge(&mut self, state: &[ArrayRef], rows: Rows<'_>) -> Result<()>;
    /// The answers of the first `groups` groups.
    fn evaluate(&mut self, groups: usize) -> Result<ArrayRef>;
    /// The states of the first `groups` groups, in the types named by `KqlAggregate::new`.
    fn state(&mut self, groups: usize) -> Result<Vec<ArrayRef>>;
    /// Forgets the first `groups` groups; the others move down.
    fn remove(&mut self, groups: usize);
    /// Bytes on the heap, roughly, in constant time.
    fn size(&self) -> usize;
}

/// Makes the empty states of an aggregate.
pub type Make = Arc<dyn Fn() -> Box<dyn Groups> + Send + Sync>;

/// The engine's view of an aggregate of our own.
pub struct KqlAggregate {
    name: String,
    returns: DataType,
    state: Vec<DataType>,
    make: Make,
    signature: Signature,
    keeps_order: bool,
}

impl KqlAggregate {
    /// An aggregate. `name` must tell apart everything that `make` depends on (types, constants):
    /// two aggregates with the same name and value type are taken for the same.
    pub fn udf(
        name: impl Into<String>,
        returns: DataType,
        state: Vec<DataType>,
        make: impl Fn() -> Box<dyn Groups> + Send + Sync + 'static,
    ) -> AggregateUDF {
        AggregateUDF::from(KqlAggregate::new(name, returns, state, make))
    }

    /// Like `udf`, for an aggregate whose answer depends on the order of the rows (`make_list`).
    pub fn ordered_udf(
        name: impl Into<String>,
        returns: DataType,
        state: Vec<DataType>,
        make: impl Fn() -> Box<dyn Groups> + Send + Sync + 'static,
    ) -> AggregateUDF {
        AggregateUDF::from(KqlAggregate { keeps_order: true, ..KqlAggregate::new(name, returns, state, make) })
    }

    fn new(
        name: impl Into<String>,
        returns: DataType,
        state: Vec<DataType>,
        make: impl Fn() -> Box<dyn Groups> + Send + Sync + 'static,
    ) -> KqlAggregate {
        KqlAggregate {
            name: name.into(),
            returns,
            state,
            make: Arc::new(make),
            signature: Signature::user_defined(Volatility::Immutable),
            keeps_order: false,
        }
    }
}

impl Debug for KqlAggregate {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KqlAggregate").field("name", &self.name).field("returns", &self.returns).finish()
    }
}

impl PartialEq for KqlAggregate {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name && self.returns == other.returns
    }
}

impl Eq for KqlAggregate {}

impl Hash for KqlAggregate {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (&self.name, &self.returns).hash(state);
    }
}

impl AggregateUDFImpl for KqlAggregate {
    fn name(&self) -> &str {
        &self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arg_types: &[DataType]) -> Result<DataType> {
        Ok(self.returns.clone())
    }

    fn return_field(&self, _arg_fields: &[FieldRef]) -> Result<FieldRef> {
        Ok(Arc::new(Field::new(&self.name, self.returns.clone(), true)))
    }

    // The binder has converted the arguments: nothing is coerced here.
    fn coerce_types(&self, arg_types: &[DataType]) -> Result<Vec<DataType>> {
        Ok(arg_types.to_vec())
    }

    fn accumulator(&self, _args: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        Ok(Box::new(Single::new((self.make)())))
    }

    fn state_fields(&self, args: StateFieldsArgs) -> Result<Vec<FieldRef>> {
        let field = |(index, ty): (usize, &DataType)| {
            let name = format_state_name(args.name, &format!("state{index}"));
            Arc::new(Field::new(name, ty.clone(), true))
        };
        Ok(self.state.iter().enumerate().map(field).collect())
    }

    fn groups_accumulator_supported(&self, _args: AccumulatorArgs) -> bool {
        true
    }

    fn create_groups_accumulator(&self, _args: AccumulatorArgs) -> Result<Box<dyn GroupsAccumulator>> {
        Ok(Box::new(Many { groups: (self.make)(), make: Arc::clone(&self.make) }))
    }

    fn order_sensitivity(&self) -> AggregateOrderSensitivity {
        if self.keeps_order {
            AggregateOrderSensitivity::HardRequirement
        } else {
            AggregateOrderSensitivity::Insensitive
        }
    }

    fn reverse_expr(&self) -> ReversedUDAF {
        if self.keeps_order { ReversedUDAF::NotSupported } else { ReversedUDAF::Identical }
    }
}

/// `Accumulator`: one group.
struct Single {
    groups: Box<dyn Groups>,
}

impl Single {
    fn new(mut groups: Box<dyn Groups>) -> Single {
        groups.resize(1);
        Single { groups }
    }
}

impl Debug for Single {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        f.write_str("Single")
    }
}

impl Accumulator for Single {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        let Some(first) = values.first() else {
            return internal_err!("an aggregate got no arguments");
        };
        self.groups.update(values, Rows::single(first.len()))
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        ScalarValue::try_from_array(&self.groups.evaluate(1)?, 0)
    }

    fn size(&self) -> usize {
        size_of::<Single>() + self.groups.size()
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        self.groups.state(1)?.iter().map(|array| ScalarValue::try_from_array(array, 0)).collect()
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        let Some(first) = states.first() else {
            return internal_err!("an aggregate got no states");
        };
        self.groups.merge(states, Rows::single(first.len()))
    }
}

/// `GroupsAccumulator`: as many groups as `by` finds.
struct Many {
    groups: Box<dyn Groups>,
    make: Make,
}

impl Many {
    fn emitted(&self, emit_to: EmitTo) -> usize {
        match emit_to {
            EmitTo::All => self.groups.len(),
            EmitTo::First(groups) => groups.min(self.groups.len()),
        }
    }
}

impl GroupsAccumulator for Many {
    fn update_batch(
        &mut self,
        values: &[ArrayRef],
        group_indices: &[usize],
        opt_filter: Option<&BooleanArray>,
        total_num_groups: usize,
    ) -> Result<()> {
        self.groups.resize(total_num_groups);
        self.groups.update(values, Rows::grouped(group_indices, opt_filter))
    }

    fn evaluate(&mut self, emit_to: EmitTo) -> Result<ArrayRef> {
        let groups = self.emitted(emit_to);
        let values = self.groups.evaluate(groups)?;
        self.groups.remove(groups);
        Ok(values)
    }

    fn state(&mut self, emit_to: EmitTo) -> Result<Vec<ArrayRef>> {
        let groups = self.emitted(emit_to);
        let state = self.groups.state(groups)?;
        self.groups.remove(groups);
        Ok(state)
    }

    fn merge_batch(&mut self, values: &[ArrayRef], group_indices: &[usize], total_num_groups: usize) -> Result<()> {
        self.groups.resize(total_num_groups);
        self.groups.merge(values, Rows::grouped(group_indices, None))
    }

    fn convert_to_state(&self, values: &[ArrayRef], opt_filter: Option<&BooleanArray>) -> Result<Vec<ArrayRef>> {
        let rows = values.first().map_or(0, |array| array.len());
        let indices: Vec<usize> = (0..rows).collect();
        let mut groups = (self.make)();
        groups.resize(rows);
        groups.update(values, Rows::grouped(&indices, opt_filter))?;
        groups.state(rows)
    }

    fn size(&self) -> usize {
        self.groups.size()
    }
}

/// What happens to the state of one group, where that state is a thing of its own (a set, a sketch, a text).
pub trait Kind: Send + Sync + 'static {
    /// The state of one group.
    type Cell: Send + Sync + 'static;
    /// The arguments of a batch, downcast.
    type Input<'a>;

    /// A group that has seen no row.
    fn empty(&self) -> Self::Cell;
    /// Downcasts the arguments.
    fn input<'a>(&self, args: &'a [ArrayRef]) -> Result<Self::Input<'a>>;
    /// Takes in a row.
    fn add(&self, cell: &mut Self::Cell, input: &Self::Input<'_>, row: usize) -> Result<()>;
    /// Writes the state as bytes.
    fn encode(&self, cell: &Self::Cell, out: &mut Vec<u8>);
    /// Takes in a state that `encode` wrote.
    fn merge(&self, cell: &mut Self::Cell, bytes: &[u8]) -> Result<()>;
    /// The answers of these groups.
    fn finish(&self, cells: &mut [Self::Cell]) -> Result<ArrayRef>;
    /// Bytes on the heap, in constant time.
    fn heap(&self, cell: &Self::Cell) -> usize;
}

/// The groups of a `Kind`. The partial state is one binary column (`CELL_STATE`).
pub struct Cells<K: Kind> {
    kind: K,
    cells: Vec<K::Cell>,
    heap: usize,
}

/// The state type of `Cells`.
pub const CELL_STATE: DataType = DataType::LargeBinary;

impl<K: Kind> Cells<K> {
    /// No groups.
    pub fn new(kind: K) -> Cells<K> {
        Cells { kind, cells: Vec::new(), heap: 0 }
    }

    /// No groups, boxed.
    pub fn boxed(kind: K) -> Box<dyn Groups> {
        Box::new(Cells::new(kind))
    }
}

impl<K: Kind> Groups for Cells<K> {
    fn len(&self) -> usize {
        self.cells.len()
    }

    fn resize(&mut self, groups: usize) {
        if groups > self.cells.len() {
            self.cells.resize_with(groups, || self.kind.empty());
        }
    }

    fn update(&mut self, args: &[ArrayRef], rows: Rows<'_>) -> Result<()> {
        let Cells { kind, cells, heap } = self;
        let input = kind.input(args)?;
        rows.try_each(|row, group| {
            let cell = &mut cells[group];
            let before = kind.heap(cell);
            kind.add(cell, &input, row)?;
            *heap = (*heap + kind.heap(cell)).saturating_sub(before);
            Ok(())
        })
    }

    fn merge(&mut self, state: &[ArrayRef], rows: Rows<'_>) -> Result<()> {
        let Cells { kind, cells, heap } = self;
        let blobs = argument::<LargeBinaryArray>(state, 0)?;
        rows.try_each(|row, group| {
            if blobs.is_null(row) {
                return Ok(());
            }
            let cell = &mut cells[group];
            let before = kind.heap(cell);
            kind.merge(cell, blobs.value(row))?;
            *heap = (*heap + kind.heap(cell)).saturating_sub(before);
            Ok(())
        })
    }

    fn evaluate(&mut self, groups: usize) -> Result<ArrayRef> {
        self.kind.finish(&mut self.cells[..groups])
    }

    fn state(&mut self, groups: usize) -> Result<Vec<ArrayRef>> {
        let mut blobs = LargeBinaryBuilder::with_capacity(groups, groups * 16);
        let mut blob = Vec::new();
        for cell in &self.cells[..groups] {
            blob.clear();
            self.kind.encode(cell, &mut blob);
            blobs.append_value(&blob);
        }
        Ok(vec![Arc::new(blobs.finish())])
    }

    fn remove(&mut self, groups: usize) {
        for cell in self.cells.drain(..groups) {
            self.heap = self.heap.saturating_sub(self.kind.heap(&cell));
        }
    }

    fn size(&self) -> usize {
        self.heap + self.cells.capacity() * size_of::<K::Cell>()
    }
}

/// The argument at `position` as an array of type `A`.
pub fn argument<A: Array + 'static>(args: &[ArrayRef], position: usize) -> Result<&A> {
    let Some(array) = args.get(position) else {
        return internal_err!("an aggregate got {} arguments, expected more", args.len());
    };
    match array.as_any().downcast_ref::<A>() {
        Some(array) => Ok(array),
        None => internal_err!(
            "an aggregate got {} as argument {position}, expected {}",
            array.data_type(),
            std::any::type_name::<A>()
        ),
    }
}

/// Reads fixed parts off the front of a state's bytes.
pub struct Reader<'a> {
    bytes: &'a [u8],
}

impl<'a> Reader<'a> {
    /// A reader from the first byte.
    pub fn new(bytes: &'a [u8]) -> Reader<'a> {
        Reader { bytes }
    }

    /// Whether all was read.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// The next `count` bytes.
    pub fn take(&mut self, count: usize) -> Result<&'a [u8]> {
        if count > self.bytes.len() {
            return internal_err!("the partial state of an aggregate is cut off");
        }
        let (head, tail) = self.bytes.split_at(count);
        self.bytes = tail;
        Ok(head)
    }

    /// The rest.
    pub fn rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.bytes)
    }

    /// The next byte.
    pub fn u8(&mut self) -> Result<u8> {
        Ok(self.take(1)?[0])
    }

    /// The next eight bytes.
    pub fn u64(&mut self) -> Result<u64> {
        let mut word = [0; 8];
        word.copy_from_slice(self.take(8)?);
        Ok(u64::from_le_bytes(word))
    }

    /// The next eight bytes.
    pub fn i64(&mut self) -> Result<i64> {
        Ok(self.u64()? as i64)
    }

    /// The next eight bytes.
    pub fn f64(&mut self) -> Result<f64> {
        Ok(f64::from_bits(self.u64()?))
    }

    /// A length of eight bytes and as many bytes.
    pub fn block(&mut self) -> Result<&'a [u8]> {
        let len = self.u64()?;
        self.take(usize::try_from(len).unwrap_or(usize::MAX))
    }
}

/// Writes what `Reader::block` reads.
pub fn write_block(bytes: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(&(bytes.len() as u64).to_le_bytes());
    out.extend_from_slice(bytes);
}
