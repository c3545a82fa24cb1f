package journal

import (
	"slices"
	"sort"
)

// damageList is damage of one shard, found or accepted: sorted, and no sequence number is in two of its ranges. Looking something up
// is a binary search; so is adding behind the others, and adding between them moves pointers besides.
type damageList []*DamageError

// search is the index of the first range that ends at or above n.
func (l damageList) search(n uint64) int {
	return sort.Search(len(l), func(i int) bool { return l[i].Last >= n })
}

// at is the range that n is in, nil when there is none.
func (l damageList) at(n uint64) *DamageError {
	if i := l.search(n); i < len(l) && l[i].First <= n {
		return l[i]
	}
	return nil
}

// missing are the parts of d that are in none of the ranges.
func (l damageList) missing(d DamageError) (parts []DamageError) {
	for i := l.search(d.First); i < len(l) && l[i].First <= d.Last; i++ {
		if known := l[i]; d.First < known.First {
			part := d
			part.Last = known.First - 1
			parts = append(parts, part)
		}
		if l[i].Last >= d.Last {
			return parts
		}
		d.First = l[i].Last + 1
	}
	if d.First > d.Last {
		return parts
	}
	return append(parts, d)
}

// add takes in those parts of d that are missing. It reports whether there were any.
func (l *damageList) add(d DamageError) bool {
	parts := l.missing(d)
	for _, part := range parts {
		l.insert(part)
	}
	return len(parts) > 0
}

// insert adds a range that none of the others overlaps, and joins it with those that it touches.
func (l *damageList) insert(d DamageError) {
	i := l.search(d.First)
	before := i > 0 && (*l)[i-1].touches(&d)
	after := i < len(*l) && d.touches((*l)[i])
	switch {
	case before && after:
		(*l)[i-1].Last = (*l)[i].Last
		*l = slices.Delete(*l, i, i+1)
	case before:
		(*l)[i-1].Last = d.Last
	case after:
		(*l)[i].First, (*l)[i].Offset = d.First, d.Offset
	default:
		*l = slices.Insert(*l, i, &d)
	}
}

// touches says that next goes on where d ends, in the same file and for the same reason.
func (d *DamageError) touches(next *DamageError) bool {
	return d.Last+1 == next.First && d.File == next.File && d.Reason == next.Reason
}

// from is the list without the ranges that end below n.
func (l damageList) from(n uint64) damageList { return l[l.search(n):] }

func (l damageList) values() []DamageError {
	all := make([]DamageError, len(l))
	for i, d := range l {
		all[i] = *d
	}
	return all
}
