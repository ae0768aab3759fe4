#include "report/svg.h"

#include <gmock/gmock.h>

namespace kvsplice::report {
namespace {

using testing::HasSubstr;

TEST(InlineSvg, RenamesIdsAndReferences) {
  const auto svg = inline_svg(
      "<?xml version=\"1.0\"?>\n<!-- c --><svg xmlns='http://x' viewBox = '0 0 1 1'>"
      "<defs><path id='a' d='M0,0'/></defs><use xlink:href='#a'/>"
      "<g clip-path='url(#a)'><text>1 &lt; 2</text></g></svg>\n",
      "p-", "a \"label\"");
  ASSERT_TRUE(svg.ok()) << svg.error().message;
  EXPECT_EQ(*svg,
            "<svg role=\"img\" aria-label=\"a &quot;label&quot;\" viewBox=\"0 0 1 1\">"
            "<defs><path id=\"p-a\" d=\"M0,0\"/></defs><use href=\"#p-a\"/>"
            "<g clip-path=\"url(#p-a)\"><text>1 &lt; 2</text></g></svg>");
}

TEST(InlineSvg, RefusesWhatIsNotDrawing) {
  const std::vector<std::pair<const char*, const char*>> cases = {
      {"<svg><script>x</script></svg>", "'script'"},
      {"<svg><SCRIPT>x</SCRIPT></svg>", "'SCRIPT'"},
      {"<svg><g onload='x'/></svg>", "'onload'"},
      {"<svg><g style='x'/></svg>", "'style'"},
      {"<svg><a href='#x'/></svg>", "'a'"},
      {"<svg><use href='http://x'/></svg>", "link out"},
      {"<svg><use xlink:href='x.svg#y'/></svg>", "link out"},
      {"<svg><g fill='url(http://x)'/></svg>", "link out"},
      {"<svg><g fill='red url(#x)'/></svg>", "link out"},
      {"<svg><foreignObject/></svg>", "'foreignObject'"},
      {"<svg><g a='\"><script>'/></svg>", "without quotes"},
      {"<svg><g a='\"'/></svg>", "broken value"},
      {"<svg><g a=x/></svg>", "without quotes"},
      {"<svg><g a/></svg>", "without value"},
      {"<svg><g></svg>", "do not match"},
      {"<svg></svg></svg>", "do not match"},
      {"<svg></svg><svg></svg>", "stray"},
      {"<svg></svg>text", "stray"},
      {"<g></g>", "stray"},
      {"<svg/>", "stray"},
      {"<!DOCTYPE svg><svg></svg>", "'!DOCTYPE'"},
      {"<svg><![CDATA[<script>]]></svg>", "not allowed"},
      {"<svg><g", "unfinished"},
      {"<svg><!-- ", "unfinished"},
      {"<svg>", "no complete"},
      {"", "no complete"},
  };
  for (const auto& [text, expected] : cases) {
    const auto svg = inline_svg(text, "p", "");
    ASSERT_FALSE(svg.ok()) << text << " -> " << *svg;
    EXPECT_THAT(svg.error().message, HasSubstr(expected)) << text;
  }
}

// Every beginning of a sound file is refused, none crashes.
TEST(InlineSvg, RefusesTruncation) {
  const std::string whole = "<?x?><svg a='b'><g id=\"c\"><text>t</text></g></svg>";
  ASSERT_TRUE(inline_svg(whole, "p", "").ok());
  for (size_t n = 0; n < whole.size(); ++n) {
    EXPECT_FALSE(inline_svg(whole.substr(0, n), "p", "").ok()) << n;
  }
}

}  // namespace
}  // namespace kvsplice::report
