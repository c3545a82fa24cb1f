package main

import (
	"bytes"
	"testing"
	"time"
)

func TestTable(t *testing.T) {
	var b bytes.Buffer
	tab := newTable("NAME", "COUNT>", "NOTE")
	tab.add("ä", "1", "x")
	tab.add("long name", "1,000", "")
	if err := tab.write(&b); err != nil {
		t.Fatal(err)
	}
	want := "NAME       COUNT  NOTE\nä              1  x\nlong name  1,000  \n"
	if b.String() != want {
		t.Errorf("got\n%q\nwant\n%q", b.String(), want)
	}
}

func TestHumanNumbers(t *testing.T) {
	for n, want := range map[int64]string{0: "0", 999: "999", 1000: "1,000", 20000: "20,000", -1234567: "-1,234,567", -12: "-12"} {
		if got := thousands(n); got != want {
			t.Errorf("thousands(%d) = %s, want %s", n, got, want)
		}
	}
	for n, want := range map[int64]string{0: "0 B", 1023: "1023 B", 1024: "1.0 KiB", 3355443: "3.2 MiB", 1 << 62: "4.0 EiB"} {
		if got := byteSize(n); got != want {
			t.Errorf("byteSize(%d) = %s, want %s", n, got, want)
		}
	}
	for d, want := range map[time.Duration]string{
		0: "0s", 1234: "1µs", 37*time.Millisecond + 400*time.Microsecond: "37ms", 1239 * time.Millisecond: "1.24s",
		192*time.Second + 400*time.Millisecond: "3m12s",
	} {
		if got := shortDuration(d); got != want {
			t.Errorf("shortDuration(%d) = %s, want %s", d, got, want)
		}
	}
	if got := shortTime(time.Time{}); got != "-" {
		t.Errorf("zero time is %q", got)
	}
}

func TestPrintItemsAndFields(t *testing.T) {
	type item struct {
		Name string `json:"name"`
	}
	for output, want := range map[string]string{
		outputTable: "NAME\na<b\nName:  a<b\n",
		outputJSON:  "{\"name\":\"a<b\"}\n{\"name\":\"a<b\"}\n",
	} {
		var b bytes.Buffer
		a := &app{console: console{out: &b}, output: output}
		if err := printItems(a, []item{{"a<b"}}, []string{"NAME"}, func(i item) []string { return []string{i.Name} }); err != nil {
			t.Fatal(err)
		}
		if err := a.printFields(item{"a<b"}, [2]string{"Name", "a<b"}); err != nil {
			t.Fatal(err)
		}
		if b.String() != want {
			t.Errorf("%s: got %q, want %q", output, b.String(), want)
		}
	}
}

func TestProgressOnlyOnTerminals(t *testing.T) {
	for _, terminal := range []bool{false, true} {
		var b bytes.Buffer
		a := &app{console: console{err: &b, errTerminal: terminal}}
		p := a.newByteProgress("feed", 4)
		var read bytes.Buffer
		if _, err := read.ReadFrom(p.reader(bytes.NewReader([]byte("data")))); err != nil {
			t.Fatal(err)
		}
		p.done()
		if read.String() != "data" || (b.Len() > 0) != terminal {
			t.Errorf("terminal %t: read %q, wrote %q", terminal, read.String(), b.String())
		}
	}
}
