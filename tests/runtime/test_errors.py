from winnrobust.runtime.errors import InputError, brief, printable


def test_a_message_is_one_line_that_a_terminal_obeys_nothing_of():
    message = str(InputError("a\x1b[31mb\nc\r\t\x00 \u202e \udcff é 漢 \ud800"))
    assert message == r"a\x1b[31mb\nc\r\t\x00 \u202e \xff é 漢 \ud800"
    assert str(InputError(message)) == message
    assert len(str(InputError("x" * 10_000))) <= 1000


def test_text_of_several_lines_keeps_them():
    assert printable("a\nb\x07") == "a\nb\\x07"


def test_what_libraries_say_becomes_one_line():
    assert brief(ValueError("first\n  second")) == "first second"
    assert brief(KeyError()) == "KeyError"
