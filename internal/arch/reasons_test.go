package arch

import (
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var majorVersion = regexp.MustCompile(`/v[0-9]+$`)

// unexplained are the modules that a go.mod requires for the code of this module itself and that the table of direct dependencies in a
// RATIONALE.md does not name, by the last element of their path, in its first column.
func unexplained(gomod, rationale string) (list []string) {
	_, table, _ := strings.Cut(rationale, "## Direct dependencies")
	var named strings.Builder
	for line := range strings.Lines(table) {
		if cells := strings.SplitN(line, "|", 3); len(cells) == 3 {
			named.WriteString(cells[1])
		}
	}
	words := map[string]bool{}
	for _, word := range strings.FieldsFunc(named.String(), func(r rune) bool { return strings.ContainsRune(" ,/()", r) }) {
		words[word] = true
	}
	required := regexp.MustCompile(`(?m)^(?:require |\t)([a-z0-9.]+\.[a-z]+/\S+) v\S+$`)
	for _, m := range required.FindAllStringSubmatch(gomod, -1) { // those of others have a comment
		if !words[path.Base(majorVersion.ReplaceAllString(m[1], ""))] {
			list = append(list, m[1])
		}
	}
	return list
}

// TestDependenciesHaveReasons checks that RATIONALE.md says of each direct dependency what it is for.
func TestDependenciesHaveReasons(t *testing.T) {
	var texts [2]string
	for i, name := range []string{"go.mod", "RATIONALE.md"} {
		b, err := os.ReadFile(filepath.Join("..", "..", name))
		if err != nil {
			t.Fatal(err)
		}
		texts[i] = string(b)
	}
	for _, m := range unexplained(texts[0], texts[1]) {
		t.Errorf("the table of direct dependencies in RATIONALE.md has no line for %s", m)
	}
	if len(unexplained(texts[0], "")) < 10 {
		t.Error("go.mod has hardly any dependency: this test looks at nothing")
	}
}

func TestUnexplained(t *testing.T) {
	const gomod = "module m\n\ngo 1.26\n\nrequire (\n\tgithub.com/a/known/v2 v2.1.0\n\tgithub.com/a/new v0.1.0\n\tgolang.org/x/sync v0.1.0\n)\n\n" +
		"require github.com/b/alone v1.0.0\n\nrequire (\n\tgithub.com/c/others v1.0.0 // indirect\n)\n"
	const rationale = "new alone\n## Direct dependencies\n\n| module | what for |\n|---|---|\n| a/known (x), golang.org/x/sync | new, alone |\n"
	if got := strings.Join(unexplained(gomod, rationale), " "); got != "github.com/a/new github.com/b/alone" {
		t.Errorf("unexplained: %s", got)
	}
}
