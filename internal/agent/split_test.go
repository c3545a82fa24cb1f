package agent

import (
	"regexp"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestSplit(t *testing.T) {
	stamp := regexp.MustCompile(`\A(?:\d)`)
	for _, c := range []struct {
		name  string
		s     splitter
		in    string
		quiet bool
		want  []string
	}{
		{"lines", splitter{}, "a\n\nb\nrest", false, []string{"a\n", "\n", "b\n"}},
		{"nothing", splitter{}, "rest", true, nil},
		{"several lines", splitter{start: stamp}, "1 a\n at\n at\n2 b\n3 c\n at\n", false, []string{"1 a\n at\n at\n", "2 b\n"}},
		{"several lines, quiet", splitter{start: stamp}, "1 a\n at\n2 b\n at\nrest", true, []string{"1 a\n at\n", "2 b\n at\n"}},
		{"no start at the start", splitter{start: stamp}, " at\n at\n1 a\n2\n", false, []string{" at\n at\n", "1 a\n"}},
		{"as many as fit", splitter{hint: 6}, "ab\ncd\nef\nlonger than that\ngh\n", false, []string{"ab\ncd\n", "ef\n", "longer than that\n", "gh\n"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			var got []string
			for b := []byte(c.in); ; {
				n := c.s.next(b, c.quiet)
				if n == 0 {
					break
				}
				got = append(got, string(b[:n]))
				b = b[n:]
			}
			if !slices.Equal(got, c.want) {
				t.Errorf("%q, want %q", got, c.want)
			}
		})
	}
}

// Records are what there was, in order and whole, and each but the first begins at a line that matches.
func TestSplitLosesNothing(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.StringMatching(`([1ab \n]{0,6}\n?){0,10}`).Draw(t, "text")
		s := splitter{}
		switch rapid.IntRange(0, 2).Draw(t, "kind") {
		case 1:
			s.start = regexp.MustCompile(`\A(?:1)`)
		case 2:
			s.hint = rapid.IntRange(1, 20).Draw(t, "hint")
		}
		var all strings.Builder
		b := []byte(text)
		for n := s.next(b, true); n > 0; n = s.next(b, true) {
			if s.start != nil && all.Len() > 0 && b[0] != '1' {
				t.Fatalf("a record begins with %q", b[:n])
			}
			if s.hint > 0 && n > s.hint && lineEnd(b) != n {
				t.Fatalf("a record of several lines has %d bytes, more than %d", n, s.hint)
			}
			all.Write(b[:n])
			b = b[n:]
		}
		if all.String()+string(b) != text || strings.Contains(string(b), "\n") {
			t.Fatalf("%q and %q are left of %q", all.String(), b, text)
		}
	})
}

func TestResume(t *testing.T) {
	several := splitter{start: regexp.MustCompile(`\A(?:1)`)}
	for _, c := range []struct {
		s     splitter
		in    string
		skip  int
		found bool
	}{
		{splitter{}, "rest", 4, false},
		{splitter{}, "rest\nnext\n", 5, true},
		{several, "rest\n at\n1 next\n", 9, true},
		{several, "rest\n at\n1", 9, false},
	} {
		if skip, found := c.s.resume([]byte(c.in)); skip != c.skip || found != c.found {
			t.Errorf("%q: %d, %v", c.in, skip, found)
		}
	}
}
