package destination

import (
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"syscall"
)

// ErrMisconfigured is a failure that lasts until somebody changes the destination, what it names or what may be done there: a stream or bucket that
// does not exist, a refused credential, a status of 4xx.
var ErrMisconfigured = errors.New("the destination or its settings are wrong")

// wrongError is an ErrMisconfigured that says only what is wrong.
type wrongError struct{ error }

func (e wrongError) Is(target error) bool { return target == ErrMisconfigured }
func (e wrongError) Unwrap() error        { return e.error }

// Misconfigured is err as an ErrMisconfigured; it says what err says.
func Misconfigured(err error) error { return wrongError{err} }

func misconfiguredf(format string, args ...any) error {
	return Misconfigured(fmt.Errorf(format, args...))
}

// byStatus tells by an answer's status whether its failure lasts.
func byStatus(status int, err error) error {
	if status >= 300 && status < 500 && status != http.StatusRequestTimeout && status != http.StatusTooManyRequests {
		return Misconfigured(err)
	}
	return err
}

// lasting are failures of files that a full disk or a broken one does not have.
var lasting = []error{fs.ErrNotExist, fs.ErrPermission, syscall.EROFS, syscall.ENOTDIR, syscall.EISDIR, syscall.ELOOP, syscall.ENAMETOOLONG}

// ofFile tells whether the failure of a file lasts.
func ofFile(err error) error {
	for _, l := range lasting {
		if errors.Is(err, l) {
			return Misconfigured(err)
		}
	}
	return err
}
