package sqltype

// Type is a PostgreSQL type with its modifier.
type Type struct {
	// OID is PostgreSQL's number of the type; 0 is no type.
	OID uint32
	// Mod is the type modifier as PostgreSQL encodes it, -1 for none.
	Mod int32
}

// The types, without a modifier.
var (
	Bool         = Type{16, -1}
	Bytea        = Type{17, -1}
	Char         = Type{18, -1} // "char": one byte
	Name         = Type{19, -1}
	Int8         = Type{20, -1}
	Int2         = Type{21, -1}
	Int2Vector   = Type{22, -1}
	Int4         = Type{23, -1}
	Regproc      = Type{24, -1}
	Text         = Type{25, -1}
	OIDType      = Type{26, -1}
	XID          = Type{28, -1}
	OIDVector    = Type{30, -1}
	JSON         = Type{114, -1}
	NodeTree     = Type{194, -1} // pg_node_tree
	Float4       = Type{700, -1}
	Float8       = Type{701, -1}
	Unknown      = Type{705, -1}
	ACLItem      = Type{1033, -1}
	BPChar       = Type{1042, -1} // character(n)
	Varchar      = Type{1043, -1}
	Date         = Type{1082, -1}
	Time         = Type{1083, -1}
	Timestamp    = Type{1114, -1}
	Timestamptz  = Type{1184, -1}
	Interval     = Type{1186, -1}
	Numeric      = Type{1700, -1}
	Regclass     = Type{2205, -1}
	Regtype      = Type{2206, -1}
	Record       = Type{2249, -1}
	AnyArray     = Type{2277, -1}
	Void         = Type{2278, -1}
	UUID         = Type{2950, -1}
	JSONB        = Type{3802, -1}
	Regnamespace = Type{4089, -1}
	Regrole      = Type{4096, -1}
)

// The arrays, without a modifier.
var (
	BoolArray        = Type{1000, -1}
	ByteaArray       = Type{1001, -1}
	CharArray        = Type{1002, -1}
	NameArray        = Type{1003, -1}
	Int2Array        = Type{1005, -1}
	Int4Array        = Type{1007, -1}
	TextArray        = Type{1009, -1}
	BPCharArray      = Type{1014, -1}
	VarcharArray     = Type{1015, -1}
	Int8Array        = Type{1016, -1}
	Float4Array      = Type{1021, -1}
	Float8Array      = Type{1022, -1}
	OIDArray         = Type{1028, -1}
	ACLItemArray     = Type{1034, -1}
	TimestampArray   = Type{1115, -1}
	DateArray        = Type{1182, -1}
	TimeArray        = Type{1183, -1}
	TimestamptzArray = Type{1185, -1}
	IntervalArray    = Type{1187, -1}
	NumericArray     = Type{1231, -1}
	JSONArray        = Type{199, -1}
	RegclassArray    = Type{2210, -1}
	RegtypeArray     = Type{2211, -1}
	UUIDArray        = Type{2951, -1}
	JSONBArray       = Type{3807, -1}
)

// shape is what is known of a type.
type shape struct {
	oid      uint32
	name     string // typname
	sql      string // as format_type writes it, without a modifier
	size     int16  // typlen: bytes, -1 variable, -2 a C string
	category byte   // typcategory
	array    uint32 // the array of it, 0 for none
	element  uint32 // of an array, else 0
}

// shapes are the scalar types; init adds their arrays.
var shapes = []shape{
	{16, "bool", "boolean", 1, 'B', 1000, 0},
	{17, "bytea", "bytea", -1, 'U', 1001, 0},
	{18, "char", `"char"`, 1, 'Z', 1002, 0},
	{19, "name", "name", 64, 'S', 1003, 0},
	{20, "int8", "bigint", 8, 'N', 1016, 0},
	{21, "int2", "smallint", 2, 'N', 1005, 0},
	{22, "int2vector", "int2vector", -1, 'A', 0, 0},
	{23, "int4", "integer", 4, 'N', 1007, 0},
	{24, "regproc", "regproc", 4, 'N', 0, 0},
	{25, "text", "text", -1, 'S', 1009, 0},
	{26, "oid", "oid", 4, 'N', 1028, 0},
	{28, "xid", "xid", 4, 'U', 0, 0},
	{30, "oidvector", "oidvector", -1, 'A', 0, 0},
	{114, "json", "json", -1, 'U', 199, 0},
	{194, "pg_node_tree", "pg_node_tree", -1, 'Z', 0, 0},
	{700, "float4", "real", 4, 'N', 1021, 0},
	{701, "float8", "double precision", 8, 'N', 1022, 0},
	{705, "unknown", "unknown", -2, 'X', 0, 0},
	{1033, "aclitem", "aclitem", 16, 'U', 1034, 0},
	{1042, "bpchar", "character", -1, 'S', 1014, 0},
	{1043, "varchar", "character varying", -1, 'S', 1015, 0},
	{1082, "date", "date", 4, 'D', 1182, 0},
	{1083, "time", "time without time zone", 8, 'D', 1183, 0},
	{1114, "timestamp", "timestamp without time zone", 8, 'D', 1115, 0},
	{1184, "timestamptz", "timestamp with time zone", 8, 'D', 1185, 0},
	{1186, "interval", "interval", 16, 'T', 1187, 0},
	{1700, "numeric", "numeric", -1, 'N', 1231, 0},
	{2205, "regclass", "regclass", 4, 'N', 2210, 0},
	{2206, "regtype", "regtype", 4, 'N', 2211, 0},
	{2249, "record", "record", -1, 'P', 0, 0},
	{2277, "anyarray", "anyarray", -1, 'P', 0, 0},
	{2278, "void", "void", 4, 'P', 0, 0},
	{2950, "uuid", "uuid", 16, 'U', 2951, 0},
	{3802, "jsonb", "jsonb", -1, 'U', 3807, 0},
	{4089, "regnamespace", "regnamespace", 4, 'N', 0, 0},
	{4096, "regrole", "regrole", 4, 'N', 0, 0},
}

// byOID and byName find shapes; arrays are in both.
var byOID, byName = index()

func index() (map[uint32]*shape, map[string]*shape) {
	oids, names := map[uint32]*shape{}, map[string]*shape{}
	for _, s := range shapes {
		oids[s.oid], names[s.name] = &s, &s
		if s.array != 0 {
			a := &shape{s.array, "_" + s.name, s.sql + "[]", -1, 'A', 0, s.oid}
			oids[a.oid], names[a.name] = a, a
		}
	}
	return oids, names
}

// Lookup returns the type of an OID, without a modifier.
func Lookup(oid uint32) (Type, bool) {
	_, ok := byOID[oid]
	return Type{oid, -1}, ok
}

// All returns every type, arrays after the scalars.
func All() []Type {
	all := make([]Type, 0, len(byOID))
	for _, s := range shapes {
		all = append(all, Type{s.oid, -1})
	}
	for _, s := range shapes {
		if s.array != 0 {
			all = append(all, Type{s.array, -1})
		}
	}
	return all
}

// IsZero says that it is no type.
func (t Type) IsZero() bool { return t.OID == 0 }

// WithMod returns the type with a modifier as PostgreSQL encodes it.
func (t Type) WithMod(mod int32) Type { return Type{t.OID, mod} }

func (t Type) shape() *shape {
	if s := byOID[t.OID]; s != nil {
		return s
	}
	return &shape{name: "???", sql: "???", size: -1, category: 'X'}
}

// Name returns PostgreSQL's internal name, typname: "int4", "_text".
func (t Type) Name() string { return t.shape().name }

// Size returns typlen: bytes, or -1 for a variable length.
func (t Type) Size() int16 { return t.shape().size }

// Category returns typcategory, such as 'N' for numbers.
func (t Type) Category() byte { return t.shape().category }

// Array returns the type of arrays of t.
func (t Type) Array() (Type, bool) {
	a := t.shape().array
	return Type{a, t.Mod}, a != 0
}

// Element returns the type of an array's elements; false says that t is no
// array.
func (t Type) Element() (Type, bool) {
	e := t.shape().element
	return Type{e, t.Mod}, e != 0
}
