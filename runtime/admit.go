package runtime

import (
	"fmt"
	"strings"

	"github.com/shardmill/shardmill/sdk/abi"
)

// abiExports are the exports that make a module a function.
var abiExports = []struct {
	name, signature string
	optional        bool
}{
	{abi.ExportMemory, "memory", false},
	{abi.ExportInitialize, "() -> ()", true},
	{abi.ExportVersion, "() -> i32", false},
	{abi.ExportInput, "(i32) -> i32", false},
	{abi.ExportHandle, "(i32, i32, i32) -> i64", false},
	{abi.ExportKinds, "() -> i32", true},
}

// admit checks that the module is a function that this host can run: its exports, its imports against what the host
// has ("module.name" → signature), and the memory that it asks for against its limit. The error is a *FieldError.
func (m *moduleInfo) admit(host map[string]string, memoryBytes int64) error {
	if err := m.admitExports(); err != nil {
		return err
	}
	for _, i := range m.imports {
		name := i.module + "." + i.name
		signature, ok := host[name]
		switch {
		case !ok || i.kind != externFunction:
			return &FieldError{"code", shorten(name), "is imported and does not exist; a function may import the functions of wasi_snapshot_preview1"}
		case signature != i.signature:
			return &FieldError{"code", shorten(name), "is imported as " + i.signature + " and is " + signature}
		}
	}
	if m.memoryPages > uint64(memoryBytes)/wasmPage {
		return &FieldError{"memory", fmt.Sprintf("%d pages", m.memoryPages),
			fmt.Sprintf("of 64 KiB are declared by the code, more than its limit of %d MiB", memoryBytes>>20)}
	}
	return nil
}

func (m *moduleInfo) admitExports() error {
	_, isFunction := m.exports[abi.ExportVersion]
	if _, isCommand := m.exports["_start"]; isCommand && !isFunction {
		return &FieldError{"code", "", "is a command (it exports _start); build it as a reactor, for Go with -buildmode=c-shared"}
	}
	for _, e := range abiExports {
		switch signature, ok := m.exports[e.name]; {
		case !ok && !e.optional:
			return &FieldError{"code", "", "does not export " + e.name + "; a function must export " + requiredExports()}
		case ok && signature != e.signature:
			return &FieldError{"code", "", fmt.Sprintf("exports %s as %q, it must be %q", e.name, signature, e.signature)}
		}
	}
	return nil
}

func requiredExports() string {
	var names []string
	for _, e := range abiExports {
		if !e.optional {
			names = append(names, e.name)
		}
	}
	return strings.Join(names, ", ")
}
