package fault

// Kind says what sort of failure an error is. The list is closed and
// append-only: names and codes are relied on by scripts and clients.
type Kind uint8

// The kinds. The comment of each says when it is used.
const (
	// Internal is a bug of ours or a failure with no better name.
	Internal Kind = iota
	// Invalid is a malformed argument, flag, name, configuration or DSN.
	Invalid
	// NotFound is a tenant, stream, file or key that does not exist.
	NotFound
	// AlreadyExists is a tenant, stream or name that is taken.
	AlreadyExists
	// Denied is an act that this caller or this statement may not do.
	Denied
	// Unauthenticated is a missing or wrong credential.
	Unauthenticated
	// QuotaExceeded is a storage limit of a tenant.
	QuotaExceeded
	// RateLimited is a tenant's limit of operations per second.
	RateLimited
	// TooManyOps is a tenant's limit of concurrent operations.
	TooManyOps
	// Corruption is damage found on disk, named by file and position.
	Corruption
	// Unavailable is a service or shard that cannot act now; nothing was done.
	Unavailable
	// Timeout is a deadline that passed before anything took effect.
	Timeout
	// Canceled is a caller that gave up before anything took effect.
	Canceled
	// OutcomeUnknown is a write that may or may not have taken effect.
	OutcomeUnknown
	// Retained is an act that retention or a legal hold forbids.
	Retained
	// Conflict is a transaction that cannot be serialised; retry it.
	Conflict
	// Constraint is a violated NOT NULL, UNIQUE, CHECK or foreign key.
	Constraint
	// SQL is a statement that does not parse or names what is not there.
	SQL
	// Unsupported is SQL or an option that Kimberlite does not offer.
	Unsupported
	// TooLarge is a statement, value, row, result or transaction over a limit.
	TooLarge
	// DiskFull is a disk at or below its reserve; nothing was done.
	DiskFull
	// InUse is a data directory that another process holds.
	InUse
	// KeyUnavailable is a master key or KEK that is missing or unreachable.
	KeyUnavailable
	// KeyInvalid is a key of the wrong form, or one that does not open.
	KeyInvalid
	// Incompatible is a format or directory of another version.
	Incompatible
	// IdempotencyMismatch is a key that was used for another request.
	IdempotencyMismatch
	// Closed is a use of a handle after Close.
	Closed
	// Stopped is a shard that stopped itself since its disk failed.
	Stopped
	// Misrouted is a call for a shard, or a tenant, that another node leads;
	// nothing was done. Error.Leader names that node where it is known.
	Misrouted
	// kinds ends the list.
	kinds
)

// row is what each kind means outside.
type row struct {
	name     string // snake_case, stable
	code     string // stable short code
	exit     int    // exit status of the command line
	sqlState string // PostgreSQL's SQLSTATE
	rpc      string // Connect/gRPC code, lower snake case
}

// table maps each kind to its names; CLI.md fixes the exit statuses.
var table = [kinds]row{
	Internal:            {"internal", "KL001", 1, "XX000", "internal"},
	Invalid:             {"invalid", "KL002", 2, "22023", "invalid_argument"},
	NotFound:            {"not_found", "KL003", 3, "42704", "not_found"},
	AlreadyExists:       {"already_exists", "KL004", 4, "42710", "already_exists"},
	Denied:              {"denied", "KL005", 5, "42501", "permission_denied"},
	Unauthenticated:     {"unauthenticated", "KL006", 5, "28P01", "unauthenticated"},
	QuotaExceeded:       {"quota_exceeded", "KL007", 6, "53400", "resource_exhausted"},
	RateLimited:         {"rate_limited", "KL008", 6, "53400", "resource_exhausted"},
	TooManyOps:          {"too_many_operations", "KL009", 6, "53400", "resource_exhausted"},
	Corruption:          {"corruption", "KL010", 7, "XX001", "data_loss"},
	Unavailable:         {"unavailable", "KL011", 8, "57P03", "unavailable"},
	Timeout:             {"timeout", "KL012", 8, "57014", "deadline_exceeded"},
	Canceled:            {"canceled", "KL013", 8, "57014", "canceled"},
	OutcomeUnknown:      {"outcome_unknown", "KL014", 9, "08007", "unknown"},
	Retained:            {"retained", "KL015", 10, "55000", "failed_precondition"},
	Conflict:            {"conflict", "KL016", 1, "40001", "aborted"},
	Constraint:          {"constraint", "KL017", 1, "23000", "failed_precondition"},
	SQL:                 {"sql", "KL018", 1, "42000", "invalid_argument"},
	Unsupported:         {"unsupported", "KL019", 1, "0A000", "unimplemented"},
	TooLarge:            {"too_large", "KL020", 1, "54000", "resource_exhausted"},
	DiskFull:            {"disk_full", "KL021", 8, "53100", "resource_exhausted"},
	InUse:               {"in_use", "KL022", 8, "55006", "unavailable"},
	KeyUnavailable:      {"key_unavailable", "KL023", 8, "58000", "unavailable"},
	KeyInvalid:          {"key_invalid", "KL024", 1, "58000", "failed_precondition"},
	Incompatible:        {"incompatible", "KL025", 1, "58000", "failed_precondition"},
	IdempotencyMismatch: {"idempotency_mismatch", "KL026", 1, "22023", "invalid_argument"},
	Closed:              {"closed", "KL027", 1, "57P01", "failed_precondition"},
	Stopped:             {"stopped", "KL028", 8, "58030", "unavailable"},
	Misrouted:           {"misrouted", "KL029", 8, "57P01", "unavailable"},
}

func (k Kind) row() row {
	if k >= kinds {
		return table[Internal]
	}
	return table[k]
}

// String returns the kind's stable snake_case name.
func (k Kind) String() string { return k.row().name }

// Code returns the kind's stable short code, such as "KL007".
func (k Kind) Code() string { return k.row().code }

// ExitStatus returns the exit status of the command line.
func (k Kind) ExitStatus() int { return k.row().exit }

// SQLState returns the SQLSTATE that a PostgreSQL client is told.
func (k Kind) SQLState() string { return k.row().sqlState }

// RPCCode returns the Connect/gRPC code's name in lower snake case.
func (k Kind) RPCCode() string { return k.row().rpc }

// Kinds returns every kind, in order.
func Kinds() []Kind {
	all := make([]Kind, kinds)
	for i := range all {
		all[i] = Kind(i)
	}
	return all
}
