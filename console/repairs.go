package console

// repairs are the POST paths of the pages.
var repairs = map[string]repair{}
