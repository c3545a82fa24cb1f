package abi

import "strconv"

// ImportModule is the module that a function imports the host's functions from.
const ImportModule = "shardmill"

// Names of the host's functions. Their signatures are in HostFunctions.
const (
	ImportResult = "result"
	ImportSecret = "secret"

	ImportStateGet    = "state_get"
	ImportStatePut    = "state_put"
	ImportStateDelete = "state_delete"
	ImportStateList   = "state_list"

	ImportHTTPFetch = "http_fetch"
)

// HostFunction is a function of the host that a module may import.
type HostFunction struct {
	Name   string
	Params string // value types as WebAssembly's text format has them, one space between
	Result string
}

// HostFunctions are all of them, in the order of abi.md.
func HostFunctions() []HostFunction {
	return []HostFunction{
		{ImportResult, "i32 i32", "i32"},
		{ImportSecret, "i32 i32", "i64"},
		{ImportStateGet, "i32 i32 i32 i32", "i64"},
		{ImportStatePut, "i32 i32 i32 i32 i32 i32 i64", "i64"},
		{ImportStateDelete, "i32 i32 i32 i32 i64", "i64"},
		{ImportStateList, "i32 i32 i32 i32 i32 i32 i32", "i64"},
		{ImportHTTPFetch, "i32 i32", "i64"},
	}
}

// Status is what a function of the host answers when it is negative; otherwise it is what the function says it is.
type Status int64

// The statuses. Their numbers are the ABI's.
const (
	StatusDenied      Status = -1 // the configuration does not grant it
	StatusNotFound    Status = -2
	StatusConflict    Status = -3
	StatusInvalid     Status = -4 // an argument is out of its limits, or outside of memory
	StatusUnavailable Status = -5 // the host cannot do it now
	StatusNoCall      Status = -6 // no call is under way
)

// Statuses are all of them, in the order of abi.md.
func Statuses() []Status {
	return []Status{StatusDenied, StatusNotFound, StatusConflict, StatusInvalid, StatusUnavailable, StatusNoCall}
}

// String is the status's name as it is shown to people.
func (s Status) String() string {
	switch s {
	case StatusDenied:
		return "denied"
	case StatusNotFound:
		return "not found"
	case StatusConflict:
		return "conflict"
	case StatusInvalid:
		return "invalid"
	case StatusUnavailable:
		return "unavailable"
	case StatusNoCall:
		return "no call"
	}
	return "status " + strconv.FormatInt(int64(s), 10)
}

// Limits of what goes to the host's functions and comes from them, in bytes.
const (
	MaxSecretNameBytes  = 128
	MaxSecretBytes      = 64 << 10
	MaxHostMessageBytes = 1024
	MaxTableNameBytes   = 64
	MaxKeyBytes         = 512
	MaxStateValueBytes  = 1 << 20
	MaxStateList        = 1000 // entries
)

// What a change of state can expect of an entry, besides its revision.
const (
	ExpectAny    int64 = -1
	ExpectAbsent int64 = 0
)
