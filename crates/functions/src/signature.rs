//! What a function takes and gives, as data.

use tidewater_kql::KqlType;

/// The types that a parameter accepts. The binder converts an argument that is not of the set but
/// widens into it (int to long, long to real, any number to decimal), and reads a dynamic argument
/// as the parameter's type where the documentation says so; else it refuses the call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Accepts {
    /// Exactly this type, or one that widens into it. A dynamic is converted to it.
    Only(KqlType),
    /// One of these types, kept as it is.
    OneOf(&'static [KqlType]),
    /// int, long, real, decimal; kept as it is.
    Number,
    /// Any type, kept as it is.
    Any,
    /// Converted to string by `tostring` rules, whatever its type (`strcat`).
    Text,
    /// All parameters so marked are brought to one common type (`coalesce`, `iff`, `max_of`).
    Common,
}

/// How often a parameter occurs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Occurs {
    /// Once.
    Required,
    /// Once or not at all.
    Optional,
    /// The last parameters, as a group, again and again up to the limit of arguments (`case`: a pair repeats).
    Repeated,
}

/// A parameter.
#[derive(Clone, Copy, Debug)]
pub struct Param {
    /// The documentation's name.
    pub name: &'static str,
    /// Its types.
    pub accepts: Accepts,
    /// How often.
    pub occurs: Occurs,
    /// Whether it must be a constant (SEM0040 otherwise).
    pub constant: bool,
}

impl Param {
    /// The same parameter, which must be a constant.
    pub const fn constant(mut self) -> Param {
        self.constant = true;
        self
    }
}

/// The type of a call's value.
#[derive(Clone, Copy)]
pub enum Returns {
    /// Always this type.
    Type(KqlType),
    /// The type of the argument at this position.
    Argument(usize),
    /// The common type of the arguments marked `Common`.
    Common,
    /// Worked out from the types of the arguments; `Err` is the message of the refusal.
    By(fn(&[KqlType]) -> Result<KqlType, String>),
}

impl std::fmt::Debug for Returns {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Returns::Type(ty) => write!(f, "{ty}"),
            Returns::Argument(position) => write!(f, "type of argument {position}"),
            Returns::Common => f.write_str("common type"),
            Returns::By(_) => f.write_str("by arguments"),
        }
    }
}

/// One way to call a function.
#[derive(Clone, Copy, Debug)]
pub struct Signature {
    /// Parameters: required first, then optional, then repeated.
    pub params: &'static [Param],
    /// Type of the value.
    pub returns: Returns,
}

/// A required parameter.
pub const fn required(name: &'static str, accepts: Accepts) -> Param {
    Param { name, accepts, occurs: Occurs::Required, constant: false }
}

/// An optional parameter.
pub const fn optional(name: &'static str, accepts: Accepts) -> Param {
    Param { name, accepts, occurs: Occurs::Optional, constant: false }
}

/// A repeated parameter.
pub const fn repeated(name: &'static str, accepts: Accepts) -> Param {
    Param { name, accepts, occurs: Occurs::Repeated, constant: false }
}

/// A signature.
pub const fn sig(params: &'static [Param], returns: Returns) -> Signature {
    Signature { params, returns }
}

/// `Accepts::Only` for each type.
pub const BOOL: Accepts = Accepts::Only(KqlType::Bool);
/// See `BOOL`.
pub const INT: Accepts = Accepts::Only(KqlType::Int);
/// See `BOOL`.
pub const LONG: Accepts = Accepts::Only(KqlType::Long);
/// See `BOOL`.
pub const REAL: Accepts = Accepts::Only(KqlType::Real);
/// See `BOOL`.
pub const DECIMAL: Accepts = Accepts::Only(KqlType::Decimal);
/// See `BOOL`.
pub const STRING: Accepts = Accepts::Only(KqlType::String);
/// See `BOOL`.
pub const DATETIME: Accepts = Accepts::Only(KqlType::DateTime);
/// See `BOOL`.
pub const TIMESPAN: Accepts = Accepts::Only(KqlType::TimeSpan);
/// See `BOOL`.
pub const GUID: Accepts = Accepts::Only(KqlType::Guid);
/// See `BOOL`.
pub const DYNAMIC: Accepts = Accepts::Only(KqlType::Dynamic);
