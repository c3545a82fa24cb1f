package sdk

import (
	"encoding/binary"
	"fmt"
	"unsafe"

	"github.com/shardmill/shardmill/sdk/abi"
)

//go:wasmimport shardmill state_get
//go:noescape
func importStateGet(table unsafe.Pointer, tableSize uint32, key unsafe.Pointer, keySize uint32) int64

//go:wasmimport shardmill state_put
//go:noescape
func importStatePut(table unsafe.Pointer, tableSize uint32, key unsafe.Pointer, keySize uint32, value unsafe.Pointer, size uint32, expected int64) int64

//go:wasmimport shardmill state_delete
//go:noescape
func importStateDelete(table unsafe.Pointer, tableSize uint32, key unsafe.Pointer, keySize uint32, expected int64) int64

//go:wasmimport shardmill state_list
//go:noescape
func importStateList(table unsafe.Pointer, tableSize uint32, prefix unsafe.Pointer, prefixSize uint32, after unsafe.Pointer, afterSize, limit uint32) int64

func (c *callContext) stateGet(table, key string) (Entry, error) {
	b, err := answered(importStateGet(textAt(table), uint32(len(table)), textAt(key), uint32(len(key))))
	if err != nil {
		return Entry{}, err
	}
	if len(b) < 8 {
		return Entry{}, fmt.Errorf("%w: the host answered %d bytes", ErrUnavailable, len(b))
	}
	return Entry{Key: key, Value: b[8:], Revision: int64(binary.LittleEndian.Uint64(b))}, nil
}

func (c *callContext) statePut(table, key string, value []byte, expected int64) (int64, error) {
	revision := importStatePut(textAt(table), uint32(len(table)), textAt(key), uint32(len(key)),
		unsafe.Pointer(unsafe.SliceData(value)), uint32(len(value)), expected)
	if revision < 0 {
		return 0, refused(revision)
	}
	return revision, nil
}

func (c *callContext) stateDelete(table, key string, expected int64) error {
	if status := importStateDelete(textAt(table), uint32(len(table)), textAt(key), uint32(len(key)), expected); status < 0 {
		return refused(status)
	}
	return nil
}

func (c *callContext) stateList(table, prefix, after string, limit int) ([]Entry, bool, error) {
	b, err := answered(importStateList(textAt(table), uint32(len(table)), textAt(prefix), uint32(len(prefix)), textAt(after), uint32(len(after)), uint32(limit)))
	if err != nil {
		return nil, false, err
	}
	found, more, err := abi.ParseStateList(b)
	if err != nil {
		return nil, false, fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	list := make([]Entry, len(found))
	for i, e := range found {
		list[i] = Entry{Key: string(e.Key), Value: e.Value, Revision: e.Revision}
	}
	return list, more, nil
}
