// Adds the words of the gallery, collections, single pictures and the ways in. Their screens import this file.
import { enShelf } from "./en-shelf";
import { addWords } from "./index";

addWords(enShelf);
