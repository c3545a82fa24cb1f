package sdk

import (
	"fmt"
	"unsafe"

	"github.com/shardmill/shardmill/sdk/abi"
)

//go:wasmimport shardmill result
//go:noescape
func importResult(ptr unsafe.Pointer, size uint32) uint32

//go:wasmimport shardmill secret
//go:noescape
func importSecret(name unsafe.Pointer, size uint32) int64

func (c *callContext) secret(name string) ([]byte, error) {
	return answered(importSecret(textAt(name), uint32(len(name))))
}

func textAt(s string) unsafe.Pointer { return unsafe.Pointer(unsafe.StringData(s)) }

// answered is what a function of the host that answered n gave.
func answered(n int64) ([]byte, error) {
	if n < 0 {
		return nil, refused(n)
	}
	b := make([]byte, n)
	importResult(unsafe.Pointer(unsafe.SliceData(b)), uint32(len(b)))
	return b, nil
}

// refused is the error of a status, with the host's sentence.
func refused(status int64) error {
	var message [abi.MaxHostMessageBytes]byte
	n := importResult(unsafe.Pointer(&message), uint32(len(message)))
	return outsideError(abi.Status(status), string(message[:min(int(n), len(message))]))
}

// outsideErrors are the errors by the host's statuses.
var outsideErrors = map[abi.Status]error{
	abi.StatusDenied: ErrDenied, abi.StatusNotFound: ErrNotFound, abi.StatusConflict: ErrConflict,
	abi.StatusInvalid: ErrInvalid, abi.StatusUnavailable: ErrUnavailable, abi.StatusNoCall: ErrNoCall,
}

// outsideError is the error of a status and the host's sentence about it.
func outsideError(s abi.Status, message string) error {
	err := outsideErrors[s]
	if err == nil {
		err = fmt.Errorf("%w: %v", ErrUnavailable, s)
	}
	if message == "" {
		return err
	}
	return fmt.Errorf("%w: %s", err, message)
}
