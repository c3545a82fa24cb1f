package fuel

import (
	"cmp"
	"slices"
)

// segment is a run of instructions of one function that are all executed when its first one is, unless a trap ends it. It
// is charged as a whole, either where it begins or, with others, where one begins that is always executed before it.
type segment struct {
	parent int32 // a segment that is always executed before this one; -1 for the function's beginning
	at     int32 // where in the body it begins
	root   bool  // the function's beginning or the head of a loop
	params bool  // the head of a loop that may have parameters
	weight int64

	child, sibling int32 // of a tree of those that may be charged with their parents; 0 ends a list
}

// Segments lighter than foldEach are charged with the one before, so that short branches cost no instruction of ours, and of
// those not more than foldSum together, so that code with many branches is not charged for all of them.
const (
	foldEach = 48
	foldSum  = 128
)

// fold adds light segments to those that are always executed before them. Parents come before their children.
func fold(segments []segment) {
	for i := 1; i < len(segments); i++ {
		if s := &segments[i]; !s.root {
			p := &segments[s.parent]
			s.sibling, p.child = p.child, int32(i)
		}
	}
	var children []int32
	for i := len(segments) - 1; i >= 0; i-- {
		children = children[:0]
		for c := segments[i].child; c != 0; c = segments[c].sibling {
			if w := segments[c].weight; w > 0 && w <= foldEach {
				children = append(children, c)
			}
		}
		slices.SortFunc(children, func(a, b int32) int { return cmp.Compare(segments[a].weight, segments[b].weight) })
		room := int64(foldSum)
		for _, c := range children {
			if room -= segments[c].weight; room < 0 {
				break
			}
			segments[i].weight += segments[c].weight
			segments[c].weight = 0
		}
	}
}

// inEntry says of each segment whether it is outside of all loops. The answer is reused.
func inEntry(segments []segment, answer []bool) []bool {
	answer = answer[:0]
	for i, s := range segments {
		answer = append(answer, i == 0 || !s.root && answer[s.parent])
	}
	return answer
}
