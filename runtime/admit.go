package runtime

import (
	"fmt"
	"slices"
	"strings"

	"github.com/shardmill/shardmill/internal/field"
	"github.com/shardmill/shardmill/runtime/wasm"
	"github.com/shardmill/shardmill/sdk/abi"
)

type abiExport struct {
	name, signature string
	optional        bool
}

// abiExports are the exports that make a module a function.
var abiExports = []abiExport{
	{abi.ExportMemory, "memory", false},
	{abi.ExportInitialize, "() -> ()", true},
	{abi.ExportVersion, "() -> i32", false},
	{abi.ExportInput, "(i32) -> i32", false},
	{abi.ExportHandle, "(i32, i32, i32) -> i64", false},
	{abi.ExportKinds, "() -> i32", true},
	{abi.ExportResumed, "() -> ()", true},
	{abi.ExportRecord, "() -> i32", true},
}

// commandExports are the exports of a command.
var commandExports = []abiExport{{abi.ExportMemory, "memory", false}, {exportStart, "() -> ()", false}}

const exportStart = "_start"

// admit checks that the module is a function that this host can run: its exports, its imports against what the host
// has ("module.name" → signature) and the configuration grants, and the memory that it asks for against its limit. The error is a
// *FieldError.
func (m *moduleInfo) admit(host map[string]string, config *Config) error {
	if err := m.admitExports(); err != nil {
		return err
	}
	var doors []string // the host's functions that it imports
	for _, i := range m.imports {
		name := i.module + "." + i.name
		signature, ok := host[name]
		switch {
		case !ok || i.kind != wasm.ExternFunction:
			return &FieldError{Field: "code", Value: name, Problem: "imports " + field.Shown(name) + ", which does not exist", Limit: "a module that imports functions of wasi_snapshot_preview1 and shardmill only"}
		case signature != i.signature:
			return &FieldError{Field: "code", Value: name, Problem: "imports " + name + " as " + i.signature, Limit: "a module that imports it as " + signature}
		case i.module == abi.ImportModule:
			doors = append(doors, i.name)
		}
	}
	if err := admitDoors(doors, config); err != nil {
		return err
	}
	return m.admitMemory(config)
}

// admitMemory checks the memory that the module asks for against its limit. The engine of scripts is checked for nothing else: it imports
// all that there is, and what a script is not granted is denied when it asks for it.
func (m *moduleInfo) admitMemory(config *Config) error {
	memoryBytes := config.MemoryBytes
	if m.memoryPages > uint64(memoryBytes)/wasmPage {
		return &FieldError{
			Field: "memory", Value: fmt.Sprintf("%d bytes", memoryBytes), Problem: fmt.Sprintf("is %d MiB", memoryBytes>>20),
			Limit: fmt.Sprintf("at least the %d pages of 64 KiB that the code declares", m.memoryPages),
		}
	}
	return nil
}

// admitDoors refuses a module that imports functions of the host for which its configuration gives no use, and names all of them.
func admitDoors(imported []string, config *Config) error {
	var names, needs []string
	for _, d := range hostDoors() {
		if slices.Contains(imported, d.Name) && d.granted != nil && !d.granted(config) {
			names = append(names, abi.ImportModule+"."+d.Name)
			if !slices.Contains(needs, d.needs) {
				needs = append(needs, d.needs)
			}
		}
	}
	if len(names) == 0 {
		return nil
	}
	it := "it"
	if len(names) > 1 {
		it = "them"
	}
	return &FieldError{
		Field: "code", Value: names[0], Problem: "imports " + listed(names) + ", which its configuration does not grant",
		Limit: "a module without " + it + ", or a configuration that grants " + listed(needs),
	}
}

// listed is "a, b and c".
func listed(words []string) string {
	last := len(words) - 1
	if last == 0 {
		return words[0]
	}
	return strings.Join(words[:last], ", ") + " and " + words[last]
}

// command is whether the module is a program of WASI preview 1 and not a function of the ABI: each call runs it from its start.
func (m *moduleInfo) command() bool {
	_, isCommand := m.exports[exportStart]
	_, isFunction := m.exports[abi.ExportVersion]
	return isCommand && !isFunction
}

func (m *moduleInfo) admitExports() error {
	wanted := abiExports
	if m.command() {
		wanted = commandExports
	} else if _, program := m.exports[exportStart]; program {
		if _, reactor := m.exports[abi.ExportInitialize]; !reactor { // its exports would run before its language's run-time has been started
			return badCode("exports "+exportStart+" beside "+abi.ExportVersion+": it was built as a program",
				"a reactor (shardmill function build makes one; Go: -buildmode=c-shared, C: -mexec-model=reactor), or a program without "+abi.ExportVersion)
		}
	}
	for _, e := range wanted {
		switch signature, ok := m.exports[e.name]; {
		case !ok && !e.optional:
			return badCode("does not export "+e.name, "a module that exports "+requiredExports(wanted))
		case ok && signature != e.signature:
			return badCode(fmt.Sprintf("exports %s as %q", e.name, signature), fmt.Sprintf("a module that exports it as %q", e.signature))
		}
	}
	return nil
}

func requiredExports(of []abiExport) string {
	var names []string
	for _, e := range of {
		if !e.optional {
			names = append(names, e.name)
		}
	}
	return strings.Join(names, ", ")
}
