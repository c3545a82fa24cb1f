// A program of WASI preview 1: it reads stdin to its end and does what the first word says.
package main

import (
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"unsafe"
)

//go:wasmimport shardmill secret
func rawSecret(name unsafe.Pointer, size uint32) int64

var calls int

func main() {
	in, err := io.ReadAll(os.Stdin)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(9)
	}
	calls++
	verb, rest, _ := strings.Cut(string(in), " ")
	switch n, _ := strconv.Atoi(rest); verb {
	case "echo":
		fmt.Print(rest)
	case "calls":
		fmt.Print(calls)
	case "args":
		fmt.Print(strings.Join(os.Args, " "))
	case "env":
		fmt.Print(strings.Join(os.Environ(), " "))
		fmt.Print(" ", rawSecret(unsafe.Pointer(unsafe.StringData("token")), 5))
	case "log":
		fmt.Fprintln(os.Stderr, rest)
	case "exit":
		fmt.Fprintln(os.Stderr, "going")
		os.Exit(n)
	case "panic":
		panic(rest)
	case "spin":
		for i := 0; ; i++ {
			calls += i
		}
	case "allocate":
		var kept [][]byte
		for {
			kept = append(kept, make([]byte, 1<<20))
		}
	case "write":
		block := make([]byte, 1<<20)
		for range n {
			os.Stdout.Write(block)
		}
	}
}
