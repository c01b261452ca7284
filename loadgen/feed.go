package loadgen

import (
	"fmt"
	"math/bits"
	"slices"
	"strings"
)

// Feed gives every iteration a row of data, chosen by its number: ${users.name} is the column name of the feed users, and ${ids} the value of
// the generated feed ids. ValidatePlan and Run read the file of a feed once and keep its rows in the plan.
type Feed struct {
	Name     string // lower-case letters, digits and underscores
	Kind     FeedKind
	Path     string    // of the file, for FeedCSV and FeedJSON
	Order    FeedOrder // of rows, for FeedCSV and FeedJSON; "" means FeedSequential
	Generate *Generate // for FeedGenerate

	table *feedTable // what the file holds, once it was read
}

// FeedKind says where a feed's data come from.
type FeedKind string

const (
	// FeedCSV reads a CSV file whose first line names the columns. All values are text.
	FeedCSV FeedKind = "csv"
	// FeedJSON reads a JSON file that holds a list of objects. Fields of nested objects are columns too, such as addr.ip.
	FeedJSON FeedKind = "json"
	// FeedGenerate makes values from the plan's seed.
	FeedGenerate FeedKind = "generate"
)

// FeedOrder says which row an iteration takes.
type FeedOrder string

const (
	// FeedSequential takes one row after another and begins again after the last.
	FeedSequential FeedOrder = "sequential"
	// FeedRandom draws rows by the plan's seed.
	FeedRandom FeedOrder = "random"
)

// Generate makes the values of a feed: the same seed and iteration give the same value.
type Generate struct {
	Kind     string // "sequence", "integer", "string" or "choice"
	From     int64  // sequence: the first value
	Step     int64  // sequence: how much each is greater than the one before; 0 means 1
	Min, Max int64  // integer: the least and the greatest
	Length   int    // string: how many characters
	Alphabet string // string: ASCII characters to draw from; "" means lower-case letters and digits
	Values   []any  // choice: text, numbers and truth values to draw from
}

// Bounds of feeds.
const (
	// MaxFeedBytes bounds the memory that the rows of all feeds of a plan take together, and the size of each file.
	MaxFeedBytes = 64 << 20

	maxGeneratedText = 64 << 10
	defaultAlphabet  = "abcdefghijklmnopqrstuvwxyz0123456789"
)

// feed is a Feed compiled.
type feed struct {
	name     string
	key      uint64 // of chance
	random   bool
	table    *feedTable         // nil when generated
	generate func(n uint64) any // from the iteration's own chance
	sequence func(i int64) any
}

// feeds compiles Plan.Feeds.
func (c *planCompiler) feeds(feeds []Feed) map[string]*feed {
	out, left := map[string]*feed{}, int64(MaxFeedBytes)
	for i := range feeds {
		f, path := &feeds[i], fmt.Sprintf("feeds[%d]", i)
		_, unknown := scope{}.find(f.Name)
		switch {
		case !variableForm.MatchString(f.Name):
			c.add(path+".name", fmt.Sprintf("%q cannot name a feed", f.Name), "use lower-case letters, digits and underscores")
		case unknown == nil:
			c.add(path+".name", fmt.Sprintf("there is a variable ${%s} already", f.Name), "give the feed a name of its own")
		case out[f.Name] != nil:
			c.add(path+".name", fmt.Sprintf("feed %q occurs twice", f.Name), "give each feed its own name")
		default:
			out[f.Name] = c.feed(path, f, &left)
		}
	}
	return out
}

func (c *planCompiler) feed(path string, f *Feed, left *int64) *feed {
	key := seedKey(c.plan.Seed, "feed "+f.Name, 0)
	out := &feed{name: f.Name, random: f.Order == FeedRandom, table: f.table}
	for _, b := range key[:8] {
		out.key = out.key<<8 | uint64(b)
	}
	switch {
	case f.Kind == FeedGenerate:
		if f.Order != "" {
			c.add(path+".order", "generated values have no order", "leave it out")
		}
		c.generator(path+".generate", f.Generate, out)
		return out
	case f.Kind != FeedCSV && f.Kind != FeedJSON:
		c.add(path, fmt.Sprintf("feed of unknown kind %q", f.Kind), "give it csv, json or generate")
		return out
	case f.Path == "":
		c.add(path+"."+string(f.Kind), "names no file", "write its path, beside the scenario's file")
		return out
	case f.Order != "" && f.Order != FeedSequential && f.Order != FeedRandom:
		c.add(path+".order", fmt.Sprintf("%q is not known", f.Order), "use sequential or random")
		return out
	}
	if out.table == nil {
		var err *feedError
		if out.table, err = readFeed(f.Kind, f.Path, *left); err != nil {
			c.add(path+"."+string(f.Kind), err.msg, err.remedy)
			out.table = &feedTable{broken: true}
			return out
		}
		f.table = out.table
	}
	*left -= out.table.bytes
	return out
}

// generator compiles a Generate.
func (c *planCompiler) generator(path string, g *Generate, f *feed) {
	if g == nil {
		c.add(path, "says nothing", "give it a kind: sequence, integer, string or choice")
		return
	}
	switch g.Kind {
	case "sequence":
		step := g.Step
		if step == 0 {
			step = 1
		}
		f.sequence = func(i int64) any { return g.From + i*step }
	case "integer":
		if g.Max < g.Min {
			c.add(path+".max", fmt.Sprintf("%d is less than the least, %d", g.Max, g.Min), "set max to min or more")
		}
		f.generate = func(n uint64) any { return g.Min + int64(below(n, uint64(g.Max-g.Min)+1)) }
	case "string":
		c.textGenerator(path, g, f)
	case "choice":
		if len(g.Values) == 0 {
			c.add(path+".values", "there is nothing to choose from", "list at least one value")
			return
		}
		values := make([]any, len(g.Values))
		for i, v := range g.Values {
			values[i] = jsonValue(v)
		}
		f.generate = func(n uint64) any { return values[below(n, uint64(len(values)))] }
	default:
		c.add(path+".kind", fmt.Sprintf("%q is not known", g.Kind), "use sequence, integer, string or choice")
	}
}

func (c *planCompiler) textGenerator(path string, g *Generate, f *feed) {
	alphabet := g.Alphabet
	if alphabet == "" {
		alphabet = defaultAlphabet
	}
	if g.Length < 1 || g.Length > maxGeneratedText {
		c.add(path+".length", fmt.Sprintf("%d characters cannot be drawn", g.Length), fmt.Sprintf("use 1 to %d", maxGeneratedText))
	}
	if strings.ContainsFunc(alphabet, func(r rune) bool { return r > 127 }) {
		c.add(path+".alphabet", "holds a character that is not ASCII", "use letters, digits and signs")
	}
	f.generate = func(n uint64) any {
		b := make([]byte, g.Length)
		for i := range b {
			n = mix(n)
			b[i] = alphabet[below(n, uint64(len(alphabet)))]
		}
		return string(b)
	}
}

// value gives what an iteration finds in a column; a generated feed has none.
func (f *feed) value(column int, iteration int64) any {
	switch {
	case f.sequence != nil:
		return f.sequence(iteration)
	case f.generate != nil:
		return f.generate(mix(f.key ^ uint64(iteration)))
	case f.random:
		return f.table.at(int(below(mix(f.key^uint64(iteration)), uint64(len(f.table.rows)))), column)
	}
	return f.table.at(int(iteration%int64(len(f.table.rows))), column)
}

// find returns the piece that stands for a column, or "" for a generated value; err says why there is none.
func (f *feed) find(column string) (p piece, err *textError) {
	generated := f.table == nil
	switch {
	case generated && column != "":
		return p, &textError{fmt.Sprintf("feed %s is generated and has no column %q", f.name, column), fmt.Sprintf("write ${%s}", f.name)}
	case !generated && f.table.broken:
		column = "" // told already
	case !generated && column == "":
		return p, &textError{fmt.Sprintf("feed %s has columns", f.name), fmt.Sprintf("name one, such as ${%s.%s}", f.name, f.table.columns[0])}
	}
	at := 0
	if !generated && !f.table.broken {
		if at = slices.Index(f.table.columns, column); at < 0 {
			return p, &textError{fmt.Sprintf("feed %s has no column %q", f.name, column), "its columns are " + clip(strings.Join(f.table.columns, ", "), 300)}
		}
		if err := f.table.complete(at); err != nil {
			return p, &textError{err.msg, err.remedy}
		}
	}
	p.whole = func(v *vars) any { return f.value(at, v.iteration) }
	return p, nil
}

// mix scatters a number over all 64 bits, so that neighbours share nothing: the finaliser of SplitMix64.
func mix(n uint64) uint64 {
	n += 0x9e3779b97f4a7c15
	n = (n ^ n>>30) * 0xbf58476d1ce4e5b9
	n = (n ^ n>>27) * 0x94d049bb133111eb
	return n ^ n>>31
}

// below maps a scattered number evenly to 0 … bound−1. A bound of 0 stands for 2^64.
func below(n, bound uint64) uint64 {
	if bound == 0 {
		return n
	}
	high, _ := bits.Mul64(n, bound)
	return high
}
