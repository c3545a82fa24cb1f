package triggers

import (
	"errors"
	"fmt"

	"github.com/shardmill/shardmill/internal/catalog"
)

// Errors of the verbs, wrapped with the operation and the mapping's name.
var (
	ErrNotFound = errors.New("mapping not found")
	ErrInvalid  = errors.New("mapping is not valid")                                  // as *FieldError
	ErrConflict = errors.New("mapping exists with other settings")                    // a setting that cannot be changed differs
	ErrClosed   = errors.New("triggers are closed")                                   // Close has been called
	ErrNoSpace  = catalog.ErrNoSpace                                                  // the disk has no room for the definition
	ErrDrain    = errors.New("invocations were cut off by the end of the drain time") // from Close
)

// FieldError says which setting of a mapping is not valid and what its limit is. It is an ErrInvalid.
type FieldError struct {
	Field string // the setting's JSON name, such as "batchSize"
	Value string // what was given
	Limit string // a phrase: "must be 1 to 10000 records"
}

// Error is the sentence for the user.
func (e *FieldError) Error() string {
	if e.Value == "" {
		return fmt.Sprintf("%s %s", e.Field, e.Limit)
	}
	return fmt.Sprintf("%s %s; it is %q", e.Field, e.Limit, shorten(e.Value))
}

// Is makes errors.Is(err, ErrInvalid) true.
func (e *FieldError) Is(target error) bool { return target == ErrInvalid }

const maxText = 500

// shorten bounds text from outside for messages and status.
func shorten(s string) string {
	if len(s) > maxText {
		return s[:maxText] + "…"
	}
	return s
}
