module github.com/redstart-go/redstart

go 1.26
