// Package filter decides which records of a stream a mapping hands to its function: event patterns as Lambda's FilterCriteria has them.
//
// A Filter is compiled once from its patterns and can then be used by many at the same time. A record passes when one of the patterns
// matches it; a filter without patterns passes everything.
//
// # Patterns
//
// A pattern is a JSON object. Its keys name fields of the record, its values are arrays of which one entry has to match; all keys have to
// match (AND), one entry of an array is enough (OR). Nested objects name nested fields.
//
//	{"partitionKey": ["DFW"], "data": {"delay": [{"numeric": [">", 60]}], "carrier": [{"anything-but": ["AA"]}]}}
//
// The fields of a record are partitionKey, sequenceNumber, approximateArrivalTimestamp (seconds since the Unix epoch), kinesisSchemaVersion
// ("1.0"), and data: the record's bytes, read as JSON where the pattern looks into them. A record whose data are looked into and are no JSON
// does not match.
//
//	entry                                      matches a value that
//	"text", 12.5, true, null                   is the same: text exactly, numbers as they are spelled (300 is not 300.0)
//	{"prefix": "us-"}, {"suffix": ".png"}      begins or ends with it; {"prefix": {"equals-ignore-case": "us-"}} in any case
//	{"equals-ignore-case": "alice"}            is the same text in any case
//	{"wildcard": "a*b"}                        is the text with any characters in place of each *; \* is an asterisk
//	{"anything-but": X}                        is none of X: a text, number, list of them, or one of the four entries above
//	{"numeric": [">", 10, "<=", 20]}           is a number in the range: = < <= > >=
//	{"cidr": "10.0.0.0/24"}                    is an IP address in the range
//	{"exists": true}, {"exists": false}        is there, or is not; objects do not count as values
//
// A field whose value is an array matches when one of its elements does; fields below an array of objects have to match in the same
// element. "$or" holds an array of two or more objects of which one has to match, beside the other keys. Of two members of one name the
// last counts.
//
// wildcard, cidr and anything-but of an entry are those of EventBridge; Lambda's documentation does not name them.
//
// # Guarantees
//
//   - A match reads the data at most once and allocates nothing unless text with escapes has to be compared.
//   - No bytes make it panic; nesting deeper than 10,000 levels is not JSON here.
//   - Explain says of each pattern what decided, in the words of the pattern.
package filter
