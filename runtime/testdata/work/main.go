// Work is a module of four kinds of work that functions do, for measuring what metering costs.
package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"slices"
)

type event struct {
	ID       string            `json:"id"`
	Merchant string            `json:"merchant"`
	Amount   float64           `json:"amount"`
	Tags     []string          `json:"tags"`
	Extra    map[string]string `json:"extra"`
}

var (
	document []byte
	text     []byte
	numbers  = make([]int64, 4096)
	sorted   = make([]int64, 4096)
)

func init() {
	var err error
	if document, err = json.Marshal(event{"0123456789", "a merchant", 12.34, []string{"one", "two", "three"}, map[string]string{"country": "CH", "currency": "EUR"}}); err != nil {
		panic(err)
	}
	for i := range 4000 {
		text = fmt.Appendf(text, "%d some words, of a line\n", i)
	}
	x := uint64(1)
	for i := range numbers {
		x = x*6364136223846793005 + 1442695040888963407
		numbers[i] = int64(x)
	}
}

func main() {}

// doJSON reads and writes an event n times.
//
//go:wasmexport json
func doJSON(n int32) int32 {
	total := 0
	for range n {
		var e event
		if err := json.Unmarshal(document, &e); err != nil {
			panic(err)
		}
		e.Amount++
		b, err := json.Marshal(e)
		if err != nil {
			panic(err)
		}
		total += len(b)
	}
	return int32(total)
}

// doHash sums 96 KB n times.
//
//go:wasmexport hash
func doHash(n int32) int32 {
	sum := [32]byte{}
	for range n {
		text[0] = sum[0]
		sum = sha256.Sum256(text)
	}
	return int32(sum[0])
}

// doSort sorts 4,096 numbers n times.
//
//go:wasmexport sort
func doSort(n int32) int32 {
	for range n {
		copy(sorted, numbers)
		slices.Sort(sorted)
	}
	return int32(sorted[100])
}

// doScan counts the lines and words of 96 KB n times.
//
//go:wasmexport scan
func doScan(n int32) int32 {
	total := 0
	for range n {
		total += bytes.Count(text, []byte("\n"))
		word := false
		for _, c := range text {
			letter := c|0x20 >= 'a' && c|0x20 <= 'z'
			if letter && !word {
				total++
			}
			word = letter
		}
	}
	return int32(total)
}
