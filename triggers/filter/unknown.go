package filter

import (
	"fmt"
	"slices"
	"strings"
)

// recordFields are the fields that a record has.
var recordFields = []string{fieldData, fieldPartitionKey, fieldSequence, fieldArrival, fieldSchema}

// knownFields is recordFields in words.
var knownFields = strings.Join(recordFields[:len(recordFields)-1], ", ") + " and " + recordFields[len(recordFields)-1]

// Warnings are what patterns ask for that no record has, a sentence each without its stop. Such a pattern is one of Lambda too, where it matches nothing in silence; more
// often than not its field is misspelled, or one of data.
func (f *Filter) Warnings() []string {
	if f == nil {
		return nil
	}
	var out []string
	for i, p := range f.patterns {
		for _, name := range p.unknown(nil) {
			out = append(out, fmt.Sprintf("filter pattern %d asks for %q, which no record has: its fields are %s", i+1, cut(name), knownFields))
		}
	}
	return out
}

// unknown appends the fields at a pattern's top, of its alternatives too, that no record has, each once.
func (o *object) unknown(names []string) []string {
	for i := range o.fields {
		if name := o.fields[i].name; !slices.Contains(recordFields, name) && !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	for _, alternatives := range o.ors {
		for _, a := range alternatives {
			names = a.unknown(names)
		}
	}
	return names
}

// cut is a name as a sentence shows it.
func cut(name string) string {
	if len(name) > maxShown {
		return strings.ToValidUTF8(name[:maxShown], "") + "…"
	}
	return name
}
