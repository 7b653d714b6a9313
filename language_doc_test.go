package redstart_test

import (
	"go/ast"
	"go/token"
	"path"
	"slices"
	"strconv"
	"strings"
)

// isPublic reports whether users import the package of a file.
func (g goFile) isPublic() bool {
	dir := path.Dir(g.name)
	public := []string{".", "codec", "observe", "embedded", "inspect", "console", "redstarttest"}
	return !g.isTest() && (isPattern(dir) || slices.Contains(public, dir) || path.Dir(dir) == "adapters")
}

// docs reports exported declarations whose doc comment does not begin with the name or does not end
// with a full stop, exported declarations of public packages without one, and receivers named x.
func (g goFile) docs() []string {
	if g.isTest() {
		return nil
	}
	var findings []string
	for _, decl := range g.parsed.Decls {
		switch d := decl.(type) {
		case *ast.FuncDecl:
			if d.Recv != nil && len(d.Recv.List[0].Names) > 0 && d.Recv.List[0].Names[0].Name == "x" {
				findings = append(findings, g.at(d.Pos(), "receiver x: name it after its type"))
			}
			if d.Name.IsExported() && receiverIsExported(d) {
				findings = append(findings, g.doc(d.Pos(), d.Doc, d.Name)...)
			}
		case *ast.GenDecl:
			findings = append(findings, g.genDocs(d)...)
		}
	}
	return findings
}

func (g goFile) genDocs(d *ast.GenDecl) []string {
	var findings []string
	for _, spec := range d.Specs {
		switch s := spec.(type) {
		case *ast.TypeSpec:
			doc := s.Doc
			if doc == nil {
				doc = d.Doc
			}
			if s.Name.IsExported() {
				findings = append(findings, g.doc(s.Pos(), doc, s.Name)...)
				findings = append(findings, g.fieldDocs(s)...)
			}
		case *ast.ValueSpec:
			switch {
			case !s.Names[0].IsExported():
			case s.Doc != nil:
				findings = append(findings, g.doc(s.Pos(), s.Doc, s.Names...)...)
			case d.Lparen == token.NoPos:
				findings = append(findings, g.doc(s.Pos(), d.Doc, s.Names...)...)
			case d.Doc == nil && s.Comment == nil && g.isPublic():
				findings = append(findings, g.at(s.Pos(), "%s has no doc comment", s.Names[0].Name))
			}
		}
	}
	return findings
}

// fieldDocs checks the doc comments of exported fields and of the methods of interfaces. A field
// may have none: its struct or a comment at the end of its line explains it.
func (g goFile) fieldDocs(s *ast.TypeSpec) []string {
	var list []*ast.Field
	switch t := s.Type.(type) {
	case *ast.StructType:
		list = t.Fields.List
	case *ast.InterfaceType:
		list = t.Methods.List
	}
	var findings []string
	for _, field := range list {
		if field.Doc != nil && len(field.Names) > 0 && field.Names[0].IsExported() {
			findings = append(findings, g.doc(field.Pos(), field.Doc, field.Names...)...)
		}
	}
	return findings
}

// doc checks the doc comment of names that are declared together.
func (g goFile) doc(pos token.Pos, doc *ast.CommentGroup, names ...*ast.Ident) []string {
	name := names[0].Name
	if doc == nil {
		if g.isPublic() {
			return []string{g.at(pos, "%s has no doc comment", name)}
		}
		return nil
	}
	text := strings.TrimSpace(doc.Text())
	first := strings.FieldsFunc(text, func(r rune) bool { return strings.ContainsRune(" \n,:;.'’", r) })
	if len(first) == 0 {
		return nil
	}
	if !slices.ContainsFunc(names, func(n *ast.Ident) bool { return n.Name == first[0] }) {
		return []string{g.at(doc.Pos(), "doc comment of %s begins with %q: begin with %s", name, first[0], name)}
	}
	lines := strings.Split(text, "\n")
	if last := lines[len(lines)-1]; !strings.HasPrefix(last, "\t") && !strings.HasSuffix(last, ".") {
		return []string{g.at(doc.Pos(), "doc comment of %s ends with %q: end with a full stop", name, last[max(0, len(last)-20):])}
	}
	return nil
}

// errorTexts checks that the exported errors of a public package begin with the package's name.
// Errors inside are wrapped before users see them.
func (g goFile) errorTexts() []string {
	if !g.isPublic() {
		return nil
	}
	var findings []string
	for _, decl := range g.parsed.Decls {
		d, ok := decl.(*ast.GenDecl)
		if !ok || d.Tok != token.VAR {
			continue
		}
		for _, spec := range d.Specs {
			values := spec.(*ast.ValueSpec)
			if len(values.Values) != len(values.Names) {
				continue
			}
			for i, name := range values.Names {
				text, ok := errorText(values.Values[i])
				if begin := g.parsed.Name.Name + ": "; ok && name.IsExported() && !strings.HasPrefix(text, begin) {
					findings = append(findings, g.at(name.Pos(), "error %q: begin with %q", text, begin))
				}
			}
		}
	}
	return findings
}

// errorText returns the text of errors.New("…") and fmt.Errorf("…").
func errorText(value ast.Expr) (string, bool) {
	call, ok := value.(*ast.CallExpr)
	if !ok || len(call.Args) == 0 {
		return "", false
	}
	callee, ok := call.Fun.(*ast.SelectorExpr)
	if !ok {
		return "", false
	}
	from, ok := callee.X.(*ast.Ident)
	if !ok || from.Name+"."+callee.Sel.Name != "errors.New" && from.Name+"."+callee.Sel.Name != "fmt.Errorf" {
		return "", false
	}
	literal, ok := call.Args[0].(*ast.BasicLit)
	if !ok {
		return "", false
	}
	text, err := strconv.Unquote(literal.Value)
	return text, err == nil
}

// receiverIsExported reports whether a function has no receiver or one of an exported type.
func receiverIsExported(d *ast.FuncDecl) bool {
	if d.Recv == nil {
		return true
	}
	kind := d.Recv.List[0].Type
	for {
		switch k := kind.(type) {
		case *ast.StarExpr:
			kind = k.X
		case *ast.IndexExpr:
			kind = k.X
		case *ast.IndexListExpr:
			kind = k.X
		case *ast.Ident:
			return k.IsExported()
		default:
			return false
		}
	}
}
