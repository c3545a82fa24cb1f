package triggers

import (
	"errors"

	"github.com/shardmill/shardmill/internal/catalog"
	"github.com/shardmill/shardmill/internal/field"
)

// Errors of the verbs, wrapped with the operation and the mapping's name.
var (
	ErrNotFound = errors.New("mapping not found")
	ErrInvalid  = field.ErrInvalid                                 // as *FieldError
	ErrConflict = errors.New("mapping exists with other settings") // a setting that cannot be changed differs
	ErrChanged  = errors.New("the mapping was changed meanwhile")  // of a caller of Update, which wanted it as it had been
	ErrFailed   = errors.New("the mapping cannot run")
	ErrNoShadow = errors.New("the mapping has no shadow")
	ErrClosed   = errors.New("triggers are closed")                                   // Close has been called
	ErrNoSpace  = catalog.ErrNoSpace                                                  // the disk has no room for the definition
	ErrDrain    = errors.New("invocations were cut off by the end of the drain time") // from Close
)

// FieldError says which setting of a mapping is not valid, by its JSON name, and what its limit is. It is an ErrInvalid.
type FieldError = field.Error

const maxText = 500

// shorten bounds text from outside for messages and status.
func shorten(s string) string {
	if len(s) > maxText {
		return s[:maxText] + "…"
	}
	return s
}
