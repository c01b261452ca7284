package history

import (
	_ "embed"
	"fmt"
	"html/template"
	"io"
)

//go:embed history.html.tmpl
var pageText string

var page = template.Must(template.New("history").Parse(pageText))

// HTML writes what was found as one page that loads nothing else and follows the reader's light or dark setting.
func HTML(w io.Writer, groups []Group) error {
	v := make([]groupView, len(groups))
	for i := range groups {
		var err error
		if v[i], err = newGroupView(&groups[i], i); err != nil {
			return err
		}
	}
	return page.Execute(w, v)
}

type groupView struct {
	Title   string
	Changes []changeView
	Cells   []cellView
}

type changeView struct{ Text, Class string }

type cellView struct {
	Title string
	Rows  [][]string
	Trend []template.HTML // charts, one for each row
}

func newGroupView(g *Group, number int) (groupView, error) {
	v := groupView{Title: g.Title()}
	for _, f := range g.All() {
		class := ""
		if f.Change.Worse {
			class = "bad"
		}
		v.Changes = append(v.Changes, changeView{f.String(), class})
	}
	for i := range g.Series {
		s := &g.Series[i]
		title := clean(fmt.Sprintf("%s (%s)", s.Cell, s.Load))
		if n := len(v.Cells); n == 0 || v.Cells[n-1].Title != title {
			v.Cells = append(v.Cells, cellView{Title: title})
		}
		cell := &v.Cells[len(v.Cells)-1]
		chart, err := trend(s, fmt.Sprintf("trend-%d-%d", number, i))
		if err != nil {
			return v, err
		}
		cell.Rows = append(cell.Rows, s.row()[2:])
		cell.Trend = append(cell.Trend, chart)
	}
	return v, nil
}
