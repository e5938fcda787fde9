package responders

import (
	"go/ast"
	"go/constant"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode"

	"pgregory.net/rapid"
)

// ownTexts reads out of the sources what guards, the machine and alerts about
// ourselves say: the texts given to refuse, ask, fail, raise and their like,
// and to the fields Reason, Next and Note. What is put together at run time
// has %s in its places.
func ownTexts(t *testing.T, files ...string) map[string]string {
	t.Helper()
	fset := token.NewFileSet()
	var parsed []*ast.File
	for _, f := range files {
		src, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		x, err := parser.ParseFile(fset, f, src, 0)
		if err != nil {
			t.Fatal(err)
		}
		parsed = append(parsed, x)
	}
	out := map[string]string{} // text: where
	for _, f := range parsed {
		for _, d := range f.Decls {
			consts := map[string]string{"nextByHand": nextByHand, "nextPage": nextPage, "KindDisableAccessKey": KindDisableAccessKey, "KindCutRoleSessions": KindCutRoleSessions}
			verbs := regexp.MustCompile(`%[#+]?[a-z]`)
			var text func(e ast.Expr) string
			text = func(e ast.Expr) string {
				switch e := e.(type) {
				case *ast.BasicLit:
					if e.Kind == token.STRING {
						return constant.StringVal(constant.MakeFromLiteral(e.Value, e.Kind, 0))
					}
				case *ast.Ident:
					if s, ok := consts[e.Name]; ok {
						return s
					}
				case *ast.BinaryExpr:
					if e.Op == token.ADD {
						return text(e.X) + text(e.Y)
					}
				case *ast.CallExpr:
					if sel, ok := e.Fun.(*ast.SelectorExpr); ok && sel.Sel.Name == "Sprintf" {
						return verbs.ReplaceAllString(text(e.Args[0]), "%s")
					}
					if fn, ok := e.Fun.(*ast.Ident); ok && fn.Name == "withClause" {
						return text(e.Args[1])
					}
				}
				return "%s"
			}
			add := func(e ast.Expr) {
				if s := text(e); strings.Trim(s, "%s: ;()") != "" {
					out[s] = fset.Position(e.Pos()).String()
				}
			}
			field := func(name string) bool { return name == "Reason" || name == "Next" || name == "Note" }
			ast.Inspect(d, func(n ast.Node) bool {
				switch n := n.(type) {
				case *ast.GenDecl:
					if n.Tok == token.CONST {
						for _, s := range n.Specs {
							v := s.(*ast.ValueSpec)
							for i, name := range v.Names {
								if i < len(v.Values) {
									consts[name.Name] = text(v.Values[i])
								}
							}
						}
					}
				case *ast.CallExpr:
					name := ""
					switch fn := n.Fun.(type) {
					case *ast.Ident:
						name = fn.Name
					case *ast.SelectorExpr:
						name = fn.Sel.Name
					}
					switch name {
					case "refuse", "ask", "back":
						if len(n.Args) == 2 {
							add(n.Args[0])
							add(n.Args[1])
						}
					case "fail":
						add(n.Args[len(n.Args)-1])
					case "raise":
						add(n.Args[3])
						add(n.Args[4])
					}
				case *ast.KeyValueExpr:
					if id, ok := n.Key.(*ast.Ident); ok && field(id.Name) {
						add(n.Value)
					}
				case *ast.AssignStmt:
					for i, l := range n.Lhs {
						if len(n.Rhs) != len(n.Lhs) {
							break
						}
						switch l := l.(type) {
						case *ast.SelectorExpr:
							if field(l.Sel.Name) {
								add(n.Rhs[i])
							}
						case *ast.Ident:
							if l.Name == "reason" || l.Name == "next" {
								add(n.Rhs[i])
							}
						}
					}
				}
				return true
			})
		}
	}
	return out
}

var english = regexp.MustCompile(`[A-Za-z]+(?:[ ,]+[a-z]{2,})+`)

// commands are what stands in Chinese text as it is typed.
var commands = regexp.MustCompile(`aliyun ram ListPolicyVersions|true_positive、false_positive 或 benign|trailwarden [a-z]+(?: [a-z]+)?`)

// Every sentence of a guard, of the machine and of an alert about ourselves has
// its Chinese, with the same places.
func TestOwnTextsHaveChinese(t *testing.T) {
	texts := ownTexts(t, "guard.go", "machine.go", "seen.go", "dispatch.go", "outlet.go", "decide.go")
	if len(texts) < 110 {
		t.Fatalf("only %d texts were found: the search is wrong", len(texts))
	}
	// Not ours to say in two languages: what an outlet notes of a delivery is
	// for the log and the command line, and a digest has its own Chinese. What is joined is looked at below.
	skip := regexp.MustCompile(`^(no longer asked|no answer: .*|no answer, and the platform cannot be read back|the platform does not have it|looking for the message failed: .*|the message cannot be edited: .*|%s: too many at once .*|%s: caught up .*|%s: not by itself: %s|it could not be done within %s of its approval%s)$`)
	for s, where := range texts {
		if skip.MatchString(s) {
			continue
		}
		hasChinese(t, where, s)
	}
	samePlaces(t, phrases)
}

// hasChinese checks a sentence, with %s for its values, against its Chinese.
func hasChinese(t *testing.T, where, s string) {
	t.Helper()
	zh := InChinese(strings.ReplaceAll(s, "%s", "X1"))
	if !strings.ContainsFunc(zh, func(c rune) bool { return unicode.Is(unicode.Han, c) }) {
		t.Errorf("%s: %q has no Chinese", where, s)
		return
	}
	if left := english.FindAllString(commands.ReplaceAllString(zh, "·"), -1); len(left) > 0 {
		t.Errorf("%s: %q becomes %q: %q is left", where, s, zh, left)
	}
	if a, b := strings.Count(s, "%s"), strings.Count(zh, "X1"); a != b {
		t.Errorf("%s: %q becomes %q, which has %d of its %d values", where, s, zh, b, a)
	}
}

func samePlaces(t *testing.T, pairs [][2]string) {
	t.Helper()
	for _, p := range pairs {
		if a, b := strings.Count(p[0], "%"), strings.Count(p[1], "%s"); a != b {
			t.Errorf("%q has %d places, %q has %d", p[0], a, p[1], b)
		}
	}
}

// So has every sentence of an executor and of a request that is refused.
func TestCloudTextsHaveChinese(t *testing.T) {
	verbs := regexp.MustCompile(`%[#+]?[a-z]`)
	texts := map[string]string{}
	asked := map[string]error{"ErrNoAlert": ErrNoAlert, "ErrNoAction": ErrNoAction, "ErrBadTriage": ErrBadTriage, "ErrBadAsk": ErrBadAsk}
	files, err := filepath.Glob("ram/*.go")
	if err != nil {
		t.Fatal(err)
	}
	fset := token.NewFileSet()
	for _, f := range append(files, "decide.go", "contain.go", "record.go", "ask.go", "triage.go", "request.go") {
		if strings.HasSuffix(f, "_test.go") {
			continue
		}
		x, err := parser.ParseFile(fset, f, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		add := func(e ast.Expr) {
			if call, ok := e.(*ast.CallExpr); ok && len(call.Args) > 0 {
				e = call.Args[0] // Sprintf
			}
			if b, ok := e.(*ast.BinaryExpr); ok {
				e = b.X // with something behind it
			}
			if l, ok := e.(*ast.BasicLit); ok && l.Kind == token.STRING {
				s := constant.StringVal(constant.MakeFromLiteral(l.Value, l.Kind, 0))
				if s = verbs.ReplaceAllString(s, "%s"); strings.Trim(s, "%s: ;(),") != "" {
					texts[s] = fset.Position(e.Pos()).String()
				}
			}
		}
		ast.Inspect(x, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.CallExpr:
				switch fn := n.Fun.(type) {
				case *ast.Ident:
					if slices.Contains([]string{"refuse", "settled", "drift", "badAsk"}, fn.Name) {
						add(n.Args[0])
					}
				case *ast.SelectorExpr:
					if fn.Sel.Name == "refuseClick" {
						add(n.Args[4])
					}
					// A refusal with its class in front, as requests are answered.
					if fn.Sel.Name == "Errorf" && len(n.Args) > 1 {
						if class, ok := n.Args[1].(*ast.Ident); ok && asked[class.Name] != nil {
							if l, ok := n.Args[0].(*ast.BasicLit); ok {
								s := constant.StringVal(constant.MakeFromLiteral(l.Value, l.Kind, 0))
								texts[verbs.ReplaceAllString(strings.Replace(s, "%w", asked[class.Name].Error(), 1), "%s")] = fset.Position(l.Pos()).String()
							}
						}
					}
				}
			case *ast.FuncDecl:
				// What a request is refused for is returned by these as text.
				if n.Name.Name == "approver" || n.Name.Name == "undoable" || n.Name.Name == "Contain" {
					ast.Inspect(n, func(n ast.Node) bool {
						if r, ok := n.(*ast.ReturnStmt); ok {
							for _, e := range r.Results {
								add(e)
							}
						}
						return true
					})
				}
			}
			return true
		})
	}
	if len(texts) < 90 {
		t.Fatalf("only %d texts were found: the search is wrong", len(texts))
	}
	for s, where := range texts {
		// Where a sentence begins or ends in another piece of source.
		said := strings.Replace(s, "already%s", "already", 1)
		said = strings.Replace(said, "%s: it is not said who asks", "not allowed: it is not said who asks", 1)
		said = strings.Replace(said, "contain: %s:", "contain: not allowed:", 1)
		if strings.HasSuffix(said, "(trailwarden action undo ") {
			said += "%s)"
		}
		hasChinese(t, where, said)
	}
	samePlaces(t, cloudPhrases)
}

// What the cloud answered is said by its code, which stays; a sentence of the cloud
// whose code is not known stays as it is.
func TestCloudsAnswersInChinese(t *testing.T) {
	for en, zh := range map[string]string{
		"ram UpdateAccessKey: NoPermission (status 403): You are not authorized to do this action. [AuthAction ram:UpdateAccessKey, NoPermissionType ImplicitDeny]; grant the responder's role ram:UpdateAccessKey, or remove the Deny, request 3A5C1B2E-0000-4000-8000-000000000001: refused": "ram UpdateAccessKey 失败：没有权限：NoPermission（状态码 403）：[AuthAction ram:UpdateAccessKey, NoPermissionType ImplicitDeny]；请为处置角色授予 ram:UpdateAccessKey，或移除 Deny，请求 ID 3A5C1B2E-0000-4000-8000-000000000001",
		"given up after 8 tries: ram GetUser: Throttling.User (status 400), request R-1: try again later":                                                                              "重试 8 次后放弃：ram GetUser 失败：请求过于频繁，被限流：Throttling.User（状态码 400），请求 ID R-1",
		"ram GetRole: EntityNotExist.Role (status 404): The role not exists.: refused; next: page a person":                                                                            "ram GetRole 失败：角色不存在：EntityNotExist.Role（状态码 404）；下一步：请通知值班人员",
		"ram AddUserToGroup: EntityAlreadyExists.User.Group (status 409): The user is in the group.: refused":                                                                          "ram AddUserToGroup 失败：对象已存在：EntityAlreadyExists.User.Group（状态码 409）",
		"the answer was lost: ims UpdateLoginProfile: no answer: no answer in time: outcome unknown; next: the present state is read before anything else":                             "未收到应答：ims UpdateLoginProfile 失败：没有应答：未按时应答；下一步：先读取当前状态，再决定后续",
		"ram GetUser: no answer: nothing was sent: dial tcp: connection refused: try again later":                                                                                      "ram GetUser 失败：没有应答：请求未发出：dial tcp: connection refused",
		"ram GetUser: status 502: bad gateway: try again later":                                                                                                                        "ram GetUser 失败：状态码 502：bad gateway",
		"ram GetUser: Odd.Thing (status 400): An odd thing.: refused":                                                                                                                  "ram GetUser 失败：Odd.Thing（状态码 400）：An odd thing.",
		"ram GetUser: NoPermissionAtAll (status 403): Odd.: refused":                                                                                                                   "ram GetUser 失败：NoPermissionAtAll（状态码 403）：Odd.",
		"ram GetUser: InvalidAccessKeyId.NotFound (status 404): the cloud does not accept the responder's own credentials; check the role or key that respond.ram works with: refused": "ram GetUser 失败：AccessKey 无效：InvalidAccessKeyId.NotFound（状态码 404）：云端不接受处置身份自身的凭证；请检查 respond.ram 使用的角色或密钥",
	} {
		if got := InChinese(en); got != zh {
			t.Errorf("%q\n got %q\nwant %q", en, got, zh)
		}
	}
}

func TestInChinese(t *testing.T) {
	for en, zh := range map[string]string{
		"": "", "an answer of a person": "an answer of a person", "playbook": "剧本",
		"cap: not by itself: 10 actions were done in the last hour and the cap is 10; next: many keys at once: see whether one cause is behind it, then approve or deny each":                                                 "上限：不自动执行：最近一小时已执行 10 次处置，上限为 10 次；下一步：短时间内涉及多个密钥：请查明是否同一原因，再逐一批准或拒绝",
		"protected: the user is protected; next: page a person: this principal is protected by configuration":                                                                                                                 "受保护：该用户受保护；下一步：请通知值班人员：该身份受配置保护",
		"order: action 0123456789ab comes first and is in_doubt":                                                                                                                                                              "顺序：须先完成处置 0123456789ab，其状态为结果未知",
		"dry-run: nothing was changed (a person would be asked: others may depend on this role, group or policy)":                                                                                                             "演练：未做任何更改（需要人工审批：该角色、用户组或策略可能有其他使用者）",
		"in force, found by reading after a lost answer; its own event is in the audit trail":                                                                                                                                 "已生效（未收到应答，经读取确认）；操作审计中已出现该操作的事件",
		"the answer was lost: ram UpdateAccessKey: EOF; next: the present state is read before anything else":                                                                                                                 "未收到应答：ram UpdateAccessKey: EOF；下一步：先读取当前状态，再决定后续",
		"key: a word that no guard of ours says":                                                                                                                                                                              "密钥：a word that no guard of ours says",
		"its outcome never became known: page a person; next: page a person: it is not contained; do it by hand: page a person":                                                                                               "始终未能得知结果：请通知值班人员；下一步：请通知值班人员：尚未处置，请手动执行：page a person",
		"not undone: somebody changed it since: it is Active, and we left it Inactive: target changed since":                                                                                                                  "未能撤销：此后有人改动过：现为启用（Active），本系统处置后为禁用（Inactive）",
		"not undone: user alice was deleted since, and what has its name now is another one; nothing is given to it: target changed since; next: somebody changed it since: look at what is there now, and change it by hand": "未能撤销：user alice 此后已被删除，现在同名的是另一个对象，不向其恢复任何权限；下一步：此后有人改动过：请核实现状并手动修改",
		"approve action 0123456789ab: not allowed: it is done already by ops at 2026-11-25T03:02:00Z":                                                                                                                         "不能批准处置 0123456789ab：其状态已为已处置（ops 于 2026-11-25T03:02:00Z）",
		"undo action 0123456789ab: not allowed: no approvers are configured; undo on the command line (trailwarden action undo 0123456789ab)":                                                                                 "不能撤销处置 0123456789ab：未配置审批人，请在命令行撤销（trailwarden action undo 0123456789ab）",
		"undo action 0123456789ab: not allowed: action ba9876543210 on the same target is under way":                                                                                                                          "不能撤销处置 0123456789ab：同一对象的处置 ba9876543210 正在进行",
		"tried again later: ram GetUser: Throttling.User: try again later":                                                                                                                                                    "稍后重试：ram GetUser: Throttling.User: try again later",
	} {
		if got := InChinese(en); got != zh {
			t.Errorf("%q\n got %q\nwant %q", en, got, zh)
		}
	}
}

// Whatever stands in a sentence comes out of it unchanged, and nothing makes
// the translation fail or grow without bound.
func TestInChineseKeepsWhatItDoesNotKnow(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		name := rapid.StringMatching(`[A-Z][A-Z0-9<>&@|*_\[\]()]{0,30}`).Draw(t, "name")
		want := "处置类型：当前没有可执行 " + name + " 的组件"
		if got := InChinese("kind: nothing here can do " + name); got != want {
			t.Fatalf("%q, want %q", got, want)
		}
		any := rapid.String().Draw(t, "any")
		if got := InChinese(any); len(got) > 4*len(any)+64 {
			t.Fatalf("%d bytes of %d: %q", len(got), len(any), got)
		}
	})
}
